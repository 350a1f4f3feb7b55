"""docs/howto/workstations.md as a new user types it, on namespaces that stand for the machines."""

import re
import sys
from collections.abc import Iterator
from os import cpu_count
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.conftest import wait_for
from tests.launched import new_database
from tests.machines import Machines, machines
from tests.pages import DOCS, commands
from tuner.study import study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machines")]

HOSTS = ("ws1", "ws2", "ws3", "ws4")
LINES = commands(DOCS / "howto/workstations.md", "machines")
FIRST_OF_RAY = next(line for line in LINES if line.startswith("ray "))
OBJECTIVE = """\
import os
import socket
import time
from pathlib import Path


def train(x: float, *, report) -> float:
    \"\"\"Wait until all machines are at work.\"\"\"
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    Path("at work", f"{socket.gethostname()} GPU {gpus}").touch()
    while len(list(Path("at work").iterdir())) < 4:
        time.sleep(0.05)
    report(1, accuracy=x)
    return x
"""
# A worker fills a machine, so that each gets one.
TUNER = f"""\
#!/bin/sh
command=$1
shift
case $command in
init) ;;
*) set -- --config-dir=conf objective=mine space=none 'objective.x=interval(0, 1)' pruner=none \\
    study.name=mine study.n_trials=8 launch.cpus_per_worker={cpu_count()} "$@" ;;
esac
exec '{sys.executable}' -m tuner "$command" "$@"
"""


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("machines") / "lan", *HOSTS, gpus=1) as found:
        command = found.directory / "bin/tuner"
        command.write_text(TUNER)
        command.chmod(0o755)
        yield found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The shared directory, with a small project."""
    (tmp_path / "at work").mkdir()
    (tmp_path / "mine.py").write_text(OBJECTIVE)
    (tmp_path / "conf/objective").mkdir(parents=True)
    (tmp_path / "conf/objective/mine.yaml").write_text("_target_: mine.train\nx: 0.5\n")
    return tmp_path


def follow(group: Machines, directory: Path, lines: list[str], url: str) -> None:
    """Type lines of the page on the first machine; they run a study."""
    group.run("ws1", "\n".join(lines), directory, TUNER_STORAGE_URL=url)
    trials = study.load(url, "mine", grace=60, patience=5).optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 8


def test_slurm(group: Machines, shared: Path, postgresql: str):
    lines = LINES[: LINES.index(FIRST_OF_RAY)]
    assert len(lines) == 10, "the heading says so"
    follow(group, shared, lines, new_database(postgresql))
    assert {path.name for path in (shared / "at work").iterdir()} == {f"{h} GPU 0" for h in HOSTS}
    states = "sinfo --noheader --Node --format=%T"
    wait_for(lambda: group.run("ws1", states, shared).split() == ["idle"] * 4)
    for host in HOSTS:
        inspect = f"ssh {host} /usr/sbin/slurmd -C; scontrol show node {host}"
        here, known = (
            dict(re.findall(r"(\w+)=(\S+)", text))
            for text in group.run("ws1", inspect, shared).split("UpTime=")
        )
        assert known["CPUTot"] == here["CPUs"]
        assert known["CoresPerSocket"] == here["CoresPerSocket"]
        assert 0.9 * int(here["RealMemory"]) < int(known["RealMemory"]) < int(here["RealMemory"])
    # A job that gave its machines back does not come before one that already waits.
    submit = "sbatch --parsable --exclusive --nodes=4 --output=/dev/null --wrap='sleep 600'"
    first = group.run("ws1", submit, shared).strip()
    running = f"squeue --noheader --jobs={first} --format=%T"
    wait_for(lambda: group.run("ws1", running, shared) == "RUNNING\n")
    queue = f"{submit}; scontrol requeue {first}; squeue --noheader --format=%Q; scancel --me"
    _, *priorities = group.run("ws1", queue, shared).split()
    assert priorities == ["1000000"] * 2


def test_ray(group: Machines, shared: Path, postgresql: str):
    pytest.importorskip("ray", reason="ray is not installed")
    follow(group, shared, LINES[LINES.index(FIRST_OF_RAY) :], new_database(postgresql))
    assert {p.name for p in (shared / "at work").iterdir()} == {f"{h} GPU none" for h in HOSTS}
