"""Real clusters for tests, each with two nodes on this machine: Slurm and Ray."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={root}/munge,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=20
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=4 Gres=gpu:2 Feature=a100 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]}
PartitionName=gpu Nodes=n1,n2 PriorityTier=1
PartitionName=work Nodes=n1,n2 Default=YES PriorityTier=1
PartitionName=gentle Nodes=n1,n2 PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n1,n2 PriorityTier=9
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/munge
AccountingStorageEnforce=associations,qos,limits
PriorityType=priority/multifactor
PriorityCalcPeriod=1
PriorityDecayHalfLife=0
PriorityUsageResetPeriod=NONE
PriorityWeightFairshare=10000
PriorityWeightQOS=100000
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
PidFile={root}/slurmdbd.pid
LogFile={root}/slurmdbd.log
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(log: Path, *command: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that ends with the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **env}, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class SlurmCluster:
    """A running slurmctld with two slurmd; ``env`` has the variables that its commands need."""

    conf: Path

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.conf)}

    def __call__(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            command, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def job(self) -> str:
        """Return the number of the only array in the queue."""
        (found,) = set(self("squeue", "--noheader", "--format=%F").split())
        return found

    def clear(self) -> None:
        """Remove all jobs from the queue."""
        while self("squeue", "--noheader"):
            self("scancel", "--me", "--full", "--signal=KILL")
            self("scancel", "--me")
            time.sleep(0.2)


@contextmanager
def slurm(accounting: str | None = None) -> Iterator[SlurmCluster]:
    """Start Slurm from the distribution's packages; skip with the reason if it cannot run.

    Args:
        accounting: Socket of a MariaDB server in which Slurm is to keep accounts, shares and QOS
            (Debian's package slurmdbd).
    """
    needed = ("munged", "slurmctld", "slurmd", "sbatch")
    if missing := [name for name in needed if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed (Debian's slurm-wlm and munge)")
    if os.getuid() != 0:
        pytest.skip("slurmd runs as root only")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as held:
        root = Path(directory)
        root.chmod(0o755)  # munged refuses a socket that others could not reach
        (root / "key").write_bytes(os.urandom(128))
        (root / "key").chmod(0o600)
        (root / "state").mkdir()
        conf = root / "slurm.conf"
        ports = [free_port() for _ in range(3)]
        devices = ("null", "zero")  # any that are there: nothing is sent to them
        gpus = "".join(f"NodeName=n1,n2 Name=gpu File=/dev/{name}\n" for name in devices)
        (root / "gres.conf").write_text(f"AutoDetect=off\n{gpus}")
        conf.write_text(SLURM_CONF.format(host=socket.gethostname(), root=root, ports=ports))
        munged = ("munged", "--foreground", f"--key-file={root}/key", f"--socket={root}/munge",
                  f"--pid-file={root}/munge.pid", f"--seed-file={root}/munge.seed",
                  f"--log-file={root}/munge.log")  # fmt: skip
        held.enter_context(daemon(root / "munged.out", *munged))
        cluster = SlurmCluster(conf)
        _await(lambda: (root / "munge").exists(), root / "munged.out")
        if accounting:
            held.enter_context(_accounts(cluster, root, accounting))
        held.enter_context(daemon(root / "slurmctld.log", "slurmctld", "-D", "-i", **cluster.env))
        for node in ("n1", "n2"):
            log = root / f"{node}.log"
            held.enter_context(daemon(log, "slurmd", "-D", "-N", node, **cluster.env))
        idle = ("sinfo", "--noheader", "--Node", "--partition=work", "--format=%T")
        _await(lambda: _quiet(cluster, *idle).split() == ["idle"] * 2, root / "slurmctld.log")
        yield cluster
        cluster.clear()


@contextmanager
def _accounts(cluster: SlurmCluster, root: Path, socket: str) -> Iterator[None]:
    """Run slurmdbd for a cluster that is about to start."""
    port = free_port()
    conf = root / "slurmdbd.conf"
    conf.write_text(SLURMDBD_CONF.format(root=root, port=port))
    conf.chmod(0o600)
    with cluster.conf.open("a") as file:
        file.write(ACCOUNTING.format(root=root, port=port))
    with daemon(root / "dbd.out", "slurmdbd", "-D", MYSQL_UNIX_PORT=socket, **cluster.env):
        _await(
            lambda: _quiet(cluster, "sacctmgr", "-i", "add", "cluster", "test"), root / "dbd.out"
        )
        yield


def _quiet(cluster: SlurmCluster, *command: str) -> str:
    try:
        return cluster(*command)
    except AssertionError:
        return ""


def _await(condition: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + 280
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@dataclass
class RayCluster:
    """A running Ray cluster of a head and one more node, with two CPUs each."""

    cluster: Any
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=2, object_store_memory=80_000_000))

    def machine_dies(self) -> None:
        """Kill the second node and everything that runs there at once, by SIGKILL."""
        node = self.nodes.pop()
        raylet = node.all_processes["raylet"][0].process.pid
        doomed = descendants(raylet)
        os.kill(raylet, signal.SIGSTOP)  # it must not tell its children first
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)


def descendants(pid: int) -> list[int]:
    """Return all descendants of a process."""
    shown = subprocess.check_output(["ps", "-eo", "pid=,ppid="], text=True)
    parents = {int(child): int(parent) for child, parent in map(str.split, shown.splitlines())}
    found = [pid]
    for one in found:  # grows as it goes
        found.extend(child for child, parent in parents.items() if parent == one)
    return found[1:]


@contextmanager
def ray() -> Iterator[RayCluster]:
    """Start Ray from its wheel; skip with the reason if it is not installed."""
    utils = pytest.importorskip("ray.cluster_utils", reason="ray is not installed")
    health = {  # a dead node is missed after 1.5 s, not after half a minute
        "health_check_initial_delay_ms": 1000,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 3,
    }
    head = {
        "num_cpus": 2,
        "object_store_memory": 80_000_000,
        "include_dashboard": False,
        "_system_config": health,
    }
    cluster = RayCluster(utils.Cluster(initialize_head=True, head_node_args=head))
    try:
        cluster.add()
        yield cluster
    finally:
        cluster.cluster.shutdown()
