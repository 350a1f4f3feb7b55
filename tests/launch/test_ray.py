"""``launch=ray`` on a real cluster: attaching and refusals."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import RayCluster
from tests.conftest import Project, wait_for
from tests.launched import Run, new_database, read_until
from tuner.config import instantiation
from tuner.config.composition import Source
from tuner.errors import ConfigError
from tuner.launch.ray import Ray
from tuner.launch.ray_queue import others

pytestmark = pytest.mark.xdist_group("ray")

KEYS = {
    "workers": 2,
    "address": "auto",
    "cpus_per_worker": 1,
    "gpus_per_worker": None,
    "resources": None,
    "max_restarts": 3,
    "working_dir": None,
    "runtime_env": {},
    "detach": False,
}


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    with clusters.ray() as cluster:
        yield cluster


@pytest.fixture
def run(project: Project, ray: RayCluster, postgresql: str) -> Run:
    return Run(
        project, new_database(postgresql), ["launch=ray", f"launch.address={ray.address}"], {}
    )


def test_workers_elsewhere_have_what_was_set_for_pytorch(monkeypatch):
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    found = Ray(**KEYS | {"gpus_per_worker": 0.5})._environment()
    assert found["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert found["TUNER_MEMORY_FRACTION"] == "0.475"


def test_resources_of_a_cluster_are_set_by_their_names():
    launch = Source().compose(["launch=ray", "launch.resources={a100: 1}"]).launch
    assert instantiation.instantiate(launch).resources == {"a100": 1}


@pytest.mark.slow
def test_a_detached_study_goes_on_and_the_same_command_watches_it(run: Run):
    _, err = run.tune("launch.detach=true").communicate(timeout=280)
    assert "2 Ray actors of CPU 1 on 2 nodes" in err
    run.wait_until_at_work()
    watching = run.tune()
    said = read_until(watching, "starting no new ones")
    assert "2 Ray actors already run this study" in said
    watching.kill()
    watching.communicate()
    assert len(run.at_work()) == 2, "they are not that command's"
    watching = run.tune()
    read_until(watching, "starting no new ones")
    run.go()
    _, err = watching.communicate(timeout=280)
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
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    run.assert_whole(retried=2)


@pytest.mark.slow
def test_actors_without_a_place_are_dropped_when_nobody_needs_them(run: Run):
    run.go()
    tune = run.tune("launch.workers=3", "launch.cpus_per_worker=2")
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    run.assert_whole(retried=0)


@pytest.mark.parametrize(
    ("requests", "names", "said"),
    [
        ([({"CPU": 1.0}, 2)], ["s-0"], ["2 of CPU 1"]),
        ([({"CPU": 1.0}, 2)], ["s-0", "s-1", ""], []),
        ([({"CPU": 1.0}, 1), ({"GPU": 1.0}, 1)], [], ["1 of CPU 1"]),
        ([({"CPU": 4.0}, 3)], [], []),
        ([], ["s-0"], []),
    ],
    ids=["another's", "the study's own", "no GPU here", "more than a node has", "nobody"],
)
def test_requests_of_others_that_some_node_can_serve_are_waiting(requests, names, said):
    assert others(requests, [{"CPU": 2.0}], names, "s") == said


@pytest.mark.slow
def test_a_second_study_gets_its_share_within_two_turns(run: Run, tmp_path: Path, postgresql: str):
    """All four CPUs are taken; one turn later the other study is at work, and both end."""
    run.args += ["worker.turn=0.1"]
    more = ["launch.workers=4", "study.n_trials=8"]
    first = run.tune(*more)
    run.wait_until(lambda: sum(epoch == 2 for _, epoch, _ in run.project.journal()) == 4, first)
    directory = tmp_path / "another project"
    shutil.copytree(
        run.project.directory, directory, ignore=shutil.ignore_patterns("runs", "journal.txt")
    )
    theirs = Project(directory, run.project.processes)
    other = Run(theirs, new_database(postgresql), run.args, run.env)
    second = other.tune(*more)
    other.wait_until(lambda: theirs.journal() and len(other.at_work()) >= 1, first, second)
    for each in (run, other):
        each.go()
    for process in (first, second):
        _, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
    assert "its turn of 0.1 min is over" in "".join(map(run.log, range(4)))
    for each in (run, other):
        journal = [(name, epoch) for name, epoch, _ in each.project.journal()]
        assert len(set(journal)) == len(journal) == 32, "nothing lost, nothing twice"
        assert each.study.workers() == []


@pytest.mark.slow
def test_a_shipped_directory_needs_no_shared_one(run: Run, tmp_path: Path):
    """The objective travels; what the run leaves, but for the database, stays with its node."""
    shared = tmp_path / "shared"
    (run.project.directory / "go").touch()
    args = ["launch.working_dir=.", f"study.dir={shared}"]
    tune = run.tune(*args, "launch.workers=1")
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    assert "complete" in (shared / "logs/worker-0.log").read_text()
    assert not (run.project.directory / "journal.txt").exists(), "it ran in the copy"


@pytest.mark.slow
def test_what_no_node_has_is_told(run: Run):
    args = ["storage=postgresql", *run.args, "launch.gpus_per_worker=0.5"]
    out = run.project.run("check", *args, TUNER_STORAGE_URL=run.url)
    assert "4 Ray actors of CPU 1, GPU 0.5 on 2 nodes, none of which has enough resources" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["launch.address=127.0.0.1:1"], 2, "no Ray cluster answers at 127.0.0.1:1"),
        (["launch.workers=0"], 2, "launch.workers: expected int of 1 or more, got 0"),
        (["storage=sqlite"], 2, "SQLite file can be used on one machine only"),
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
