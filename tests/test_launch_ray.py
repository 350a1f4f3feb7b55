"""``launch=ray`` on a real cluster: joining, refusals; and the keeper of one worker by itself."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clusters, servers
from tests.clusters import RayCluster
from tests.conftest import Project
from tests.launched import Run, new_database
from tests.test_worker import wait_for
from tuner.errors import ConfigError
from tuner.launch.keeper import Keeper
from tuner.launch.ray import Ray

pytestmark = pytest.mark.xdist_group("ray")

KEYS = {
    "workers": 2,
    "address": "auto",
    "cpus_per_worker": 1,
    "gpus_per_worker": None,
    "resources": {},
    "max_restarts": 3,
    "working_dir": None,
    "runtime_env": {},
    "detach": False,
}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    with clusters.ray() as cluster:
        yield cluster


@pytest.fixture
def run(project: Project, ray: RayCluster, postgresql: str) -> Run:
    return Run(
        project, new_database(postgresql), ["launch=ray", f"launch.address={ray.address}"], {}
    )


@pytest.mark.slow
def test_a_detached_study_goes_on_and_the_same_command_watches_it(run: Run):
    _, err = run.tune("launch.detach=true").communicate(timeout=60)
    assert "2 Ray actors of CPU 1 on 2 nodes" in err
    run.wait_until_at_work()
    watching = run.tune()
    said = run.read_until(watching, "no new ones are made")
    assert "2 Ray actors are at work on this study" in said
    watching.kill()
    watching.communicate()
    assert len(run.at_work()) == 2, "they are not that command's"
    watching = run.tune()
    run.read_until(watching, "no new ones are made")
    run.go()
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    run.assert_whole(retried=0)


@pytest.mark.slow
def test_a_killed_command_leaves_no_worker_and_its_places_are_taken_at_once(run: Run):
    tune = run.tune()
    run.wait_until_at_work()
    workers = {pid for _, _, pid in run.project.journal()}
    tune.kill()
    tune.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    before = run.at_work()
    assert len(before) == 2, "Ray kills what an actor started, so they could not sign off"
    tune = run.tune()
    wait_for(lambda: len(run.at_work()) == 2 and not run.at_work() & before)
    run.go()
    _, err = tune.communicate(timeout=60)
    assert tune.returncode == 0, err
    run.assert_whole(retried=2)


@pytest.mark.slow
def test_actors_without_a_place_are_dropped_when_nobody_needs_them(run: Run):
    run.go()
    tune = run.tune("launch.workers=3", "launch.cpus_per_worker=2")
    _, err = tune.communicate(timeout=60)
    assert tune.returncode == 0, err
    run.assert_whole(retried=0)


@pytest.mark.slow
def test_a_shipped_directory_needs_no_shared_one(run: Run, tmp_path: Path):
    """The objective travels; what the run leaves, but for the database, stays with its node."""
    shared = tmp_path / "shared"
    (run.project.directory / "go").touch()
    args = ["launch.working_dir=.", f"study.dir={shared}"]
    tune = run.tune(*args, "launch.workers=1")
    _, err = tune.communicate(timeout=60)
    assert tune.returncode == 0, err
    assert "COMPLETE" in (shared / "logs/worker-0.log").read_text()
    assert not (run.project.directory / "journal.txt").exists(), "it ran in the copy"


@pytest.mark.slow
def test_what_no_node_has_is_told(run: Run):
    args = ["storage=postgresql", *run.args, "launch.gpus_per_worker=0.5"]
    out = run.project.run("check", *args, TUNER_STORAGE_URL=run.url)
    assert "4 Ray actors of CPU 1, GPU 0.5 on 2 nodes, none of which has so much" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["launch.address=127.0.0.1:1"], 1, "no Ray cluster answers at 127.0.0.1:1"),
        (["launch.workers=0"], 2, "launch.workers: must be at least 1, got 0"),
        (["storage=sqlite"], 2, "SQLite serves one machine"),
    ],
)
def test_refusals_come_before_anything_is_made(project: Project, args, code, said):
    url = "postgresql+psycopg://u:secret@127.0.0.1:1/x"
    project.run("tune", "storage=postgresql", "launch=ray", *args, code=code, TUNER_STORAGE_URL=url)
    assert said in project.stderr
    assert "Traceback" not in project.stderr
    assert not (project.directory / "runs").exists()


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'tuner\[ray\]'"):
        Ray(**KEYS).describe()


def keep(directory: Path, script: str, **change: object) -> Keeper:
    """A keeper of a shell command in the place of the worker."""
    python = f"import subprocess, sys; sys.exit(subprocess.call({script!r}, shell=True))"
    keys = {
        "place": "here",
        "command": ["python", "-c", python],
        "environment": {},
        "directory": str(directory),
        "log": "logs/worker.log",
        "max_restarts": 3,
    }
    return Keeper(**(keys | change))


def test_a_dead_worker_is_replaced_until_one_ends_well(tmp_path, monkeypatch):
    """… and each knows whom it replaces."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    script = (
        "echo $TUNER_WORKER_ID $TUNER_REPLACES $TUNER_DEVICE ${TUNER_SHARED-alone}; test -e two "
        "|| { test -e one && touch two; touch one; exit 9; }"
    )
    code, line = keep(tmp_path, script).wait()
    assert code == 0
    lives = (tmp_path / "logs/worker.log").read_text().splitlines()
    assert len(set(lives)) == 3, "every life has an id of its own"
    assert line == lives[-1]
    assert all(one.startswith("here.") and one.endswith(" here cuda:0 alone") for one in lives)
    shared = keep(tmp_path, script, environment={"TUNER_MEMORY_FRACTION": "0.5"}).wait()[1]
    assert shared.endswith("-3"), "workers of one device share its lock"


def test_a_worker_that_gives_up_or_keeps_dying_is_not_started_again(tmp_path):
    assert keep(tmp_path, "echo a mistake; exit 2").wait() == (2, "a mistake")
    assert keep(tmp_path, "echo dead; exit 9", max_restarts=0).wait() == (9, "dead")


def test_a_directory_that_a_node_lacks_is_named(tmp_path):
    code, said = keep(tmp_path / "absent", "true").wait()
    assert code == 2
    assert "absent" in said
    assert "hint: " in said
    assert not (tmp_path / "absent").exists()


def test_stopping_passes_the_signal_on_and_starts_nothing_more(tmp_path):
    script = "import pathlib, time; pathlib.Path('up').touch(); time.sleep(60)"
    keeper = keep(tmp_path, "", command=["python", "-c", script])
    wait_for((tmp_path / "up").exists)
    keeper.stop(signal.SIGTERM)
    assert keeper.wait()[0] == -signal.SIGTERM
