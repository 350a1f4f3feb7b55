"""The contract of every launcher, tested on real engines.

N workers start, their logs are found, cancelling stops them, a lost worker is replaced, and the
study ends with exactly its budget.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import clusters
from tests.conftest import Project, wait_for
from tests.launch import kubernetes_server
from tests.launched import Run, new_database

pytestmark = pytest.mark.slow


@dataclass
class Engine:
    """A launcher on its engine."""

    lose_one: Callable[[Project], None]
    """Take a worker away as the engine's users know it: a crash, a requeue, a dead machine."""
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    is_empty: Callable[[], bool] = lambda: True
    prepare: Callable[[Run], None] = lambda run: None


@pytest.fixture(scope="module")
def local() -> Engine:
    return Engine(lambda project: os.kill(project.journal()[0][2], signal.SIGKILL))


@pytest.fixture(scope="module")
def slurm() -> Iterator[Engine]:
    with clusters.slurm() as cluster:

        def requeue(_: Project) -> None:
            cluster("scontrol", "requeue", f"{cluster.job()}_0")

        args = ["launch=slurm", "launch.poll=0.5"]
        yield Engine(requeue, args, cluster.env, lambda: not cluster("squeue", "--noheader"))


@pytest.fixture(scope="module")
def ray() -> Iterator[Engine]:
    with clusters.ray() as cluster:
        args = ["launch=ray", f"launch.address={cluster.address}"]
        yield Engine(lambda _: cluster.machine_dies(), args)


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    config = tmp_path_factory.mktemp("kubernetes") / "config"
    cluster = kubernetes_server.Kubernetes(config.parent, runs=True)

    def prepare(run: Run) -> None:
        """What would be in the image and in the Secret."""
        cluster.directory, cluster.secrets["TUNER_STORAGE_URL"] = run.project.directory, run.url

    with kubernetes_server.serving(cluster, config):
        yield Engine(
            lambda _: cluster.evict(cluster.running()[0]),
            ["launch=kubernetes", "launch.image=tuner"],
            {"KUBECONFIG": str(config)},
            lambda: not cluster.running(),
            prepare,
        )


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.xdist_group(name))
        for name in ("local", "slurm", "ray", "kubernetes")
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def run(project: Project, engine: Engine, postgresql: str) -> Run:
    run = Run(project, new_database(postgresql), engine.args, engine.env)
    engine.prepare(run)
    return run


def test_workers_start_and_a_cancelled_study_leaves_none(run: Run, engine: Engine):
    tune = run.tune()
    run.wait_until_at_work()
    assert len(run.at_work()) == 2
    logs = run.project.directory / "runs/toy/logs"
    assert sorted(path.name for path in logs.iterdir()) == ["worker-0.log", "worker-1.log"]
    tune.send_signal(signal.SIGINT)
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 130, err
    assert "run the same command" in err
    assert run.study.workers() == []
    states = sorted(t.state.name for t in run.study.optuna.get_trials())
    assert states == ["FAIL", "FAIL", "WAITING", "WAITING"], "requeued at once"
    assert all("is requeued: SIG" in run.log(k) for k in (0, 1))
    assert engine.is_empty()


def test_a_lost_worker_comes_back_and_the_budget_is_exact(run: Run, engine: Engine):
    tune = run.tune()
    run.wait_until_at_work()
    before = run.at_work()
    engine.lose_one(run.project)
    wait_for(lambda: len(run.at_work()) == 2 and run.at_work() - before)
    run.go()
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    run.assert_whole(retried=1)
    assert engine.is_empty()


def test_on_another_machine_tuner_worker_with_the_same_overrides_joins(
    project: Project, postgresql: str, tmp_path: Path
):
    """Two directories that share nothing but the database."""
    here = Run(project, new_database(postgresql), ["launch.workers=1"], {})
    other = Project(tmp_path / "another machine", project.processes)
    shutil.copytree(project.directory, other.directory)
    there = Run(other, here.url, here.args, {})
    tune = here.tune()
    worker = there.start("worker")
    here.wait_until(lambda: project.journal() and other.journal(), tune, worker)
    assert len(here.at_work()) == 2
    here.go()
    there.go()
    for process in (tune, worker):
        _, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
    here.assert_finished(retried=0)
    assert len(project.journal()) + len(other.journal()) == 16
