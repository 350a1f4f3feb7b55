"""``launch=slurm`` on a real slurmctld and slurmd: limits, preemption, attaching, refusals."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import SlurmCluster
from tests.conftest import Project, wait_for
from tests.launched import Run, new_database, read_until
from tuner.errors import ConfigError, LaunchError
from tuner.launch import restarts
from tuner.launch.slurm import Slurm

pytestmark = pytest.mark.xdist_group("slurm")

KEYS = {
    "workers": 2,
    "partition": None,
    "account": None,
    "gpus_per_worker": None,
    "cpus_per_worker": 1,
    "memory": None,
    "time_limit": None,
    "notice": 60,
    "max_restarts": 3,
    "setup": [],
    "python": None,
    "sbatch": [],
    "poll": 1.0,
    "detach": False,
}


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    with clusters.slurm() as cluster:
        yield cluster


@pytest.fixture
def run(project: Project, slurm: SlurmCluster, postgresql: str) -> Iterator[Run]:
    args = ["launch=slurm", "launch.poll=0.5"]
    yield Run(project, new_database(postgresql), args, slurm.env)
    slurm.clear()


def near_the_limit(slurm: SlurmCluster, run: Run) -> None:
    """What ``--signal=B:USR1@…`` does when the time comes, to the task with the array's own id."""
    slurm("scancel", "--batch", "--signal=USR1", f"{slurm.job()}_1")


def preempted_with_grace(slurm: SlurmCluster, run: Run) -> None:
    """A job of more weight takes the node of a worker that has time to leave."""
    node = slurm("squeue", "--noheader", f"--jobs={slurm.job()}_0", "--format=%N")
    slurm("sbatch", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null",
          "--wrap=sleep 3")  # fmt: skip


def crashed(slurm: SlurmCluster, run: Run) -> None:
    os.kill(run.project.journal()[0][2], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("lose", [near_the_limit, preempted_with_grace, crashed])
def test_a_worker_that_must_leave_comes_back(run: Run, slurm: SlurmCluster, lose):
    # A node each, so that one of them can be taken alone.
    tune = run.tune("launch.partition=gentle", "launch.cpus_per_worker=4")
    run.wait_until_at_work()
    before = run.at_work()
    lose(slurm, run)
    wait_for(lambda: len(run.at_work()) == 2 and run.at_work() - before)
    run.go()
    _, err = tune.communicate(timeout=300)
    assert tune.returncode == 0, err
    run.assert_whole(retried=1)


@pytest.mark.slow
def test_a_worker_gives_way_to_a_job_that_waits_and_comes_back(run: Run, slurm: SlurmCluster):
    tune = run.tune("worker.turn=0.1", "launch.cpus_per_worker=4")
    run.wait_until_at_work()
    before = run.at_work()
    other = slurm("sbatch", "--parsable", "--cpus-per-task=4", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: other not in slurm("squeue", "--noheader", "--format=%i").split())
    wait_for(lambda: len(run.at_work()) == 2 and run.at_work() - before)
    run.go()
    _, err = tune.communicate(timeout=300)
    assert tune.returncode == 0, err
    said = [run.log(k) for k in (0, 1) if "its turn of 0.1 min is over" in run.log(k)]
    assert f"1 waiting, the first: {other} " in said[0]
    run.assert_whole(retried=len(said))


@pytest.mark.slow
def test_a_detached_study_goes_on_and_the_same_command_watches_it(run: Run, slurm: SlurmCluster):
    out, err = run.tune("launch.detach=true").communicate(timeout=300)
    job = slurm.job()
    assert f"Slurm job {job}" in err
    assert "launch.detach=false" in out
    run.wait_until_at_work()
    watching = run.tune()
    said = read_until(watching, "submitting no new job")
    assert f"Slurm job {job} already runs this study" in said
    assert "workers that already run this study: 2 on" in said
    assert slurm.job() == job, "no second array"
    run.go()
    _, err = watching.communicate(timeout=300)
    assert watching.returncode == 0, err
    run.assert_whole(retried=0)


@pytest.mark.slow
def test_a_task_that_still_waits_is_struck_out_when_nobody_needs_it(run: Run, slurm: SlurmCluster):
    run.go()
    tune = run.tune("launch.workers=3", "launch.cpus_per_worker=4")
    _, err = tune.communicate(timeout=300)
    assert tune.returncode == 0, err
    assert "1 cancelled, 2 completed" in err
    run.assert_whole(retried=0)


@pytest.mark.slow
def test_a_line_of_the_setup_that_fails_is_told(run: Run):
    tune = run.tune("launch.setup=['module load cuda']")
    _, err = tune.communicate(timeout=300)
    assert tune.returncode == 1
    assert "launch.setup failed: module load cuda" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["launch.partition=nowhere"], "invalid partition specified: nowhere"),
        (["launch.cpus_per_worker=99"], "Requested node configuration is not available"),
        (["launch.gpus_per_worker=9"], "Requested node configuration is not available"),
        (["launch.sbatch=['--gres=fpga:1']"], "Invalid generic resource (gres)"),
        (["launch.sbatch=[--foo]"], "unrecognized option '--foo'"),
        (["launch.workers=0"], "launch.workers: expected int of 1 or more, got 0"),
        (["storage=sqlite"], "SQLite file can be used on one machine only"),
    ],
)
def test_what_slurm_would_refuse_is_told_before_anything_is_made(run: Run, args, said):
    tune = run.tune(*args)
    _, err = tune.communicate(timeout=300)
    assert tune.returncode == 2
    assert said in err
    assert "hint: " in err or "expected" in err
    assert "Traceback" not in err
    assert not (run.project.directory / "runs").exists()
    with pytest.raises(Exception, match="has no study"):
        _ = run.study


def command(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def commands(directory: Path, monkeypatch, **scripts: str) -> None:
    """Slurm's commands, as far as their output goes."""
    for name, script in scripts.items():
        command(directory, name, script)
    monkeypatch.setenv("PATH", str(directory))


def test_a_machine_without_slurm_is_told_where_to_go(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch, squeue="")
    with pytest.raises(ConfigError, match=r"sbatch, scancel not found; hint: .* launch=local"):
        Slurm(**KEYS).describe()


def test_a_controller_that_is_away_is_no_mistake_of_the_users(tmp_path, monkeypatch):
    said = "echo 'allocation failure: Unable to contact slurm controller (connect failure)' >&2"
    commands(tmp_path, monkeypatch, sbatch=f"{said}; exit 1", squeue="", scancel="")
    with pytest.raises(LaunchError, match="Unable to contact slurm controller") as caught:
        Slurm(**KEYS).describe()
    assert caught.value.exit_code == 1


def test_what_is_not_asked_for_is_left_to_the_cluster():
    plain = Slurm(**KEYS).options()
    assert {o.split("=")[0] for o in plain}.isdisjoint({"--partition", "--gres", "--mem", "--time"})
    change = {
        "partition": "gpu",
        "account": "lab",
        "gpus_per_worker": 2,
        "memory": "8G",
        "time_limit": 90,
        "sbatch": ["--constraint=a100"],
    }
    asked = Slurm(**(KEYS | change)).options()
    assert set(asked) > {"--partition=gpu", "--account=lab", "--gres=gpu:2", "--mem=8G"}
    assert set(asked) > {"--time=90", "--signal=B:USR1@60", "--requeue", "--array=0-1"}
    assert asked[-1] == "--constraint=a100", "the user's own options win"


def test_the_command_survives_the_script():
    script = Slurm(**(KEYS | {"python": "/opt/a b/python"})).script(["python", "x='a @B@ $c'"])
    assert shlex.join(["/opt/a b/python", "x='a @B@ $c'"]) in script


class Node:
    """The script of a task on a node whose Slurm commands note how they are called."""

    def __init__(self, directory: Path, monkeypatch, worker: str, **keys: str) -> None:
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        self.calls = directory / "calls"
        for name, said in {"squeue": "RUNNING", "scontrol": "", "scancel": ""}.items():
            command(directory, name, f'echo {name} "$1" >> {self.calls}\necho {said}')
        script = Slurm(**(KEYS | keys)).script([sys.executable, "-c", worker])
        (directory / "task.sh").write_text(script)
        self.shell = subprocess.Popen(
            ["bash", directory / "task.sh"], stderr=subprocess.PIPE, text=True, cwd=directory
        )
        (directory / "pid.new").write_text(str(self.shell.pid))
        (directory / "pid.new").rename(directory / "pid")

    def end(self) -> tuple[int, str]:
        _, err = self.shell.communicate(timeout=300)
        return self.shell.returncode, err


def test_a_task_restarts_a_dead_worker_but_not_one_that_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)
    count = "import os; os.mkdir('2' if os.path.exists('1') else '1'); os._exit({})"
    node = Node(tmp_path, monkeypatch, count.format("2 if os.path.exists('2') else 9"))
    assert node.end() == (2, "the worker died (exit 9); restarting it in 0.0 s\n")
    assert (tmp_path / "2").exists()


def test_the_time_limit_ends_the_pause_before_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 3600.0)
    node = Node(tmp_path, monkeypatch, "import os; os._exit(9)")
    assert "restarting it in" in node.shell.stderr.readline()
    node.shell.send_signal(signal.SIGUSR1)
    assert node.end()[0] == 143
    assert node.calls.read_text().endswith("scontrol requeue\n")


def test_a_time_limit_that_comes_before_the_pause_ends_it(tmp_path, monkeypatch):
    told = "until [ -f pid ]; do sleep 0.1; done; kill -USR1 $(cat pid)"
    restarts_alone = f'[ "$2" = tuner.launch.restarts ] || exit 9\n{told}; echo 3600.0 0'
    command(tmp_path, "python", restarts_alone)
    node = Node(tmp_path, monkeypatch, "", python=str(tmp_path / "python"))
    assert node.end() == (143, "the worker died (exit 9); restarting it in 3600.0 s\n")
    assert node.calls.read_text().endswith("scontrol requeue\n")
