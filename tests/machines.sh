#!/bin/bash
# machines.sh DIRECTORY GPUS NAME…: a network of machines, each with its own host name, address,
# daemons and files of Debian's packages munge and slurm-wlm, freshly installed. Run by
# `unshare --net --mount --pid --fork --kill-child --mount-proc`, with which all of it ends.
set -eu
directory=$1 gpus=$2
shift 2
mkdir -p "$directory/bin"
n=0
for name; do printf '10.77.0.%d %s\n' $((++n)) "$name" >> "$directory/hosts"; done

script() { cat > "$directory/bin/$1" && chmod +x "$directory/bin/$1"; }
script sudo <<< '#!/bin/sh
exec "$@"'
script apt <<< '#!/bin/sh
shift 2 # install -y
exec dpkg --status "$@" > /dev/null'
script ssh << END
#!/bin/sh
name=\$1
shift
exec nsenter --target "\$(cat "$directory/\$name.pid")" --net --uts --mount \
    --wd="\$HOME" sh -c "\$*"
END
script systemctl << 'END'
#!/bin/bash
# systemctl restart UNIT…: what the unit's file tells systemd to do.
shift
for unit; do
    value() { sed -n "s/^$1=//p" "/usr/lib/systemd/system/$unit.service"; }
    condition=$(value ConditionPathExists)
    [ -z "$condition" ] || [ -e "$condition" ] || { echo "$unit: no $condition" >&2; exit 1; }
    if pid=$(cat "$(value PIDFile)" 2> /dev/null) && kill "$pid"; then
        while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
    fi
    user=$(value User)
    own=$(value RuntimeDirectory)
    [ -z "$own" ] || install -d -o "$user" "/run/$own"
    command="exec setsid runuser -u ${user:-root} -- $(value ExecStart)"
    if [ "$(value Type)" = forking ]; then
        bash -c "$command" < /dev/null > "/run/$unit.out" 2>&1
    else
        bash -c "$command" < /dev/null > "/run/$unit.out" 2>&1 &
    fi
done
END

# What the packages' installation leaves behind, in directories that only this machine has.
install() {
    mkdir -p /tmp/ray
    for place in /run /etc/slurm /etc/munge /var/{lib,log}/{slurm,munge} /tmp/ray; do
        mount -t tmpfs none "$place"
    done
    command install -d -o slurm -g slurm /var/lib/slurm/slurm{ctld,d} /var/log/slurm
    chown munge: /etc/munge /var/{lib,log}/munge
    head -c 128 /dev/urandom > /etc/munge/munge.key
    chown munge: /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    { # as Debian's installer writes it
        printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$HOSTNAME"
        grep -v " $HOSTNAME\$" "$directory/hosts"
    } > /run/hosts
    mount --bind /run/hosts /etc/hosts
    mkdir /run/dev
    mount --rbind /dev /run/dev
    mount -t tmpfs none /dev
    cp -a /run/dev/{null,zero,full,random,urandom,tty,fd,stdin,stdout,stderr} /dev
    mkdir /dev/{shm,pts}
    mount -t tmpfs none /dev/shm
    mount --rbind /run/dev/pts /dev/pts
    for ((k = 0; k < gpus; k++)); do mknod "/dev/nvidia$k" c 1 3; done # as /dev/null
}
export -f install
export directory gpus

ip link add lan type bridge
ip link set lan up
n=0
for name; do
    : $((++n))
    mkfifo "$directory/$name.ready"
    {
        unshare --net --uts --mount bash -euc "hostname $name; HOSTNAME=$name; install
            echo \$\$ > '$directory/$name.ready'; exec sleep infinity" ||
            echo > "$directory/$name.ready"
    } &
    read -r pid < "$directory/$name.ready"
    echo "$pid" > "$directory/$name.pid"
    ip link add "port$n" master lan up type veth peer name eth0 netns "$pid"
    there=(nsenter --target "$pid" --net ip)
    "${there[@]}" link set lo up
    "${there[@]}" address add "10.77.0.$n/24" dev eth0
    "${there[@]}" link set eth0 up
done
echo ready
while :; do wait; sleep 1; done # adopts what the machines leave behind
