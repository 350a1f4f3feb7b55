#!/bin/bash
# Build the image and run a worker, the dashboard and the health check from it, without an engine:
# buildah in a chroot, on a Debian made by debootstrap.  Needs root, buildah and debootstrap, some
# gigabytes below TMPDIR, and the package registries that pip and apt reach on this machine.
#
# What differs from a real build: the base is Debian's own Python and not python:3.13-slim, and torch
# is one for the CPU where pip has one here (check_pip.py).  PyPI's torchvision is built for CUDA and
# does not load beside such a torch; the digits need none of it.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { echo "docker-check, ${SECONDS} s: $*"; }
die() { echo "docker-check: $*" >&2; exit 1; }
for tool in buildah debootstrap findmnt; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
[ "$(id -u)" = 0 ] || die "a chroot needs root"

work=$(realpath "$(mktemp -d)")
chmod 755 "$work"
export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot
store=(--root "$work/store" --runroot "$work/run")
groups=() # a process group each, for what runs inside is a child of buildah's child

# `below findmnt…`: mounts in our directory, the innermost first.
mounts_below() { findmnt --raw --noheadings --output TARGET | grep -F "$work/" | sort --reverse || true; }
processes_below() { # those whose root directory is in ours
    for root in /proc/[0-9]*/root; do
        if [[ $(readlink "$root" 2>/dev/null) == "$work"/* ]]; then basename "$(dirname "$root")"; fi
    done
}
finish() {
    set +e
    for group in "${groups[@]}"; do kill -- "-$group" 2>/dev/null; done
    wait
    for pid in $(processes_below); do kill -9 "$pid" 2>/dev/null; done
    # /proc, /sys and /dev are mounted inside while something runs there, and in a debootstrap that was
    # cut short: nothing at all is removed before the last mount has gone.
    buildah "${store[@]}" umount --all >/dev/null 2>&1
    buildah "${store[@]}" rm --all >/dev/null 2>&1
    mounts_below | xargs --no-run-if-empty --delimiter='\n' --max-args=1 umount
    if [ -n "$(mounts_below)" ]; then
        echo "docker-check: mounts are left in $work, which therefore stays" >&2
    else
        rm -rf --one-file-system "$work"
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM
start() { # in the background, with its own process group
    setsid "$@" &
    groups+=($!)
}

say "debootstrap"
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' 'Label: Debian' | head -n 1)
debootstrap --variant=minbase --include=python3-dev,python3-venv bookworm "$work/debian" \
    ${mirror:+"$mirror"} >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
[ -z "$(mounts_below)" ] || die "debootstrap left mounts"
base=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$base" "$work/debian" / >/dev/null
buildah "${store[@]}" commit --quiet "$base" tuner-base >/dev/null
rm -rf --one-file-system "$work/debian"

say "build"
.venv/bin/python docker/check_pip.py "$work/pip.conf" "$work/constraints.txt" >"$work/shared"
mounts=()
while read -r path; do mounts+=(--volume "$path:$path:ro"); done <"$work/shared"
buildah "${store[@]}" build --format docker --file docker/Dockerfile --tag tuner \
    --build-arg BASE=localhost/tuner-base --secret "id=pip,src=$work/pip.conf" "${mounts[@]}" . \
    >"$work/log" 2>&1 || { tail -n 30 "$work/log"; exit 1; }

say "a worker against a real PostgreSQL that wants a password"
free_port() { .venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
echo a-password-of-the-check >"$work/password"
chmod 444 "$work/password"
db_port=$(free_port)
start .venv/bin/python -W ignore docker/check_database.py "$work" "$work/password" "$db_port" 2>"$work/db.log"
for _ in $(seq 200); do grep -q "ready to accept" "$work/db.log" && break; sleep 0.3; done
grep -q "ready to accept" "$work/db.log" || { cat "$work/db.log"; die "no PostgreSQL"; }
box=$(buildah "${store[@]}" from tuner)
inside=(buildah "${store[@]}" run
    --volume "$work/password:/run/secrets/db_password:ro"
    --env TUNER_STORAGE_URL="postgresql+psycopg://tuner@127.0.0.1:$db_port/postgres"
    --env TUNER_DB_PASSWORD_FILE=/run/secrets/db_password
    --env TUNER_DASHBOARD_TOKEN=a-token-of-the-check "$box" --)
search=(storage=postgresql study.n_trials=2 trainer.epochs=150) # long enough to be looked at
[ "$("${inside[@]}" id -u)" != 0 ] || die "the image runs as root"
start "${inside[@]}" entrypoint.sh worker "${search[@]}"
worker=$!
until "${inside[@]}" health.py 2>/dev/null; do kill -0 "$worker" || die "the worker ended unseen"; sleep 1; done
say "the worker is healthy"
wait "$worker"
if "${inside[@]}" health.py 2>/dev/null; then die "healthy without a worker"; fi
"${inside[@]}" entrypoint.sh best --json "${search[@]}"

say "a worker that waits for studies, as compose restarts it"
start "${inside[@]}" sh -c 'while :; do entrypoint.sh worker --wait storage=postgresql; done'
for name in first second; do
    "${inside[@]}" entrypoint.sh tune storage=postgresql launch=none experiment=digits \
        study.name=$name study.n_trials=2
done
for name in first second; do
    timeout 900 "${inside[@]}" entrypoint.sh status "$name" --watch || die "study $name was not run"
done

say "training with trainer.graph=compile"
"${inside[@]}" entrypoint.sh train trainer.graph=compile trainer.epochs=1 >"$work/log" 2>&1 || {
    tail -n 30 "$work/log"; die "no training"; }
if grep "compiling failed" "$work/log"; then die "the image cannot compile"; fi

say "the dashboard"
port=$(free_port)
start "${inside[@]}" entrypoint.sh dashboard storage=postgresql --host 0.0.0.0 --port "$port" --read-only
for _ in $(seq 60); do sleep 1; "${inside[@]}" health.py 2>/dev/null && healthy=1 && break; done
[ "${healthy-}" = 1 ] || die "the dashboard does not answer its health check"
answer() { # the status of a request with a token
    .venv/bin/python - "http://127.0.0.1:$port/api/studies" "$1" <<'PYTHON'
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
try:
    print(urllib.request.urlopen(request, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)
PYTHON
}
[ "$(answer a-wrong-token-of-the-check)" = 401 ] || die "a wrong token opens the dashboard"
[ "$(answer a-token-of-the-check)" = 200 ] || die "the right token does not open the dashboard"

say "no secret in the image"
if buildah "${store[@]}" inspect tuner | grep -E "a-password-of-the-check|a-token-of-the-check"; then exit 1; fi
buildah "${store[@]}" images
say "all is well"
