"""Run directories at a URL: on a real S3 server over HTTP and in a plain directory."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from s3fs import S3FileSystem

from tests import servers
from tests.conftest import Project, wait_for
from tests.toy import CONF, OBJECTIVE
from tuner.errors import TunerError
from tuner.study.attempts import HISTORY
from tuner.worker import mirror, mirror_snapshots
from tuner.worker.mirror import Mirror, kept

RUN = "00003-0123abcd"


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[dict[str, str]]:
    with servers.s3(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def _new_connections() -> None:
    """fsspec keeps a connection with the endpoint and the keys that it was made with."""
    S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["s3", "file"])
def url(request, tmp_path, monkeypatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/a shared disk"
    for name, value in request.getfixturevalue("s3").items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.name} {request.node.name.partition('[')[0]}"


def machine(tmp_path: Path, name: str) -> Path:
    """The run directory on a machine of its own."""
    directory = tmp_path / name / RUN
    directory.mkdir(parents=True)
    return directory


def put(run_dir: Path, **files: str) -> None:
    for name, text in files.items():
        draft = run_dir / f".{name}"
        draft.write_text(text)
        draft.replace(run_dir / name)


def push(url: str, run_dir: Path, attempt: int) -> Mirror:
    made = Mirror(url, run_dir, attempt)
    made._upload()
    return made


def objects(made: Mirror) -> list[str]:
    root = made.pushes.root
    found = (path.removeprefix(f"{root}/") for path in made.pushes.fs.find(root))
    return sorted("json" if "json" in name else name.split("/")[0] for name in found)


def test_another_machine_goes_on_with_what_one_has_left(url, tmp_path):
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    with kept(url, here, 3, first=True) as copy:
        put(here, checkpoint="one")
        copy.push()
        (here / "deep" / "er").mkdir(parents=True)
        put(here / "deep" / "er", text="ä")
        put(here, checkpoint="two")
        (here / ".draft").write_text("half a fi")
    with kept(url, there, 7, first=False):
        assert (there / "checkpoint").read_text() == "two"
        assert (there / "deep" / "er" / "text").read_text() == "ä"
        assert not (there / ".draft").exists()
        put(there, checkpoint="three")
    with kept(url, here, 9, first=False):
        assert (here / "checkpoint").read_text() == "three", "also where an older one lies"


def test_what_is_as_new_or_newer_here_is_kept(url, tmp_path):
    here = machine(tmp_path, "here")
    put(here, checkpoint="pushed")
    push(url, here, 3)
    put(here, checkpoint="written after the last push, before the machine went down")
    assert not Mirror(url, here, 4).fetch()
    assert (here / "checkpoint").read_text().startswith("written after")


def test_a_worker_that_was_paused_cannot_undo_what_its_successor_did(url, tmp_path):
    paused, successor, third = (machine(tmp_path, name) for name in ("a", "b", "c"))
    put(paused, checkpoint="1")
    old = push(url, paused, 3)
    new = Mirror(url, successor, 7)
    assert new.fetch()
    for epoch in ("2", "3", "4"):
        put(successor, checkpoint=epoch)
        new._upload()
    put(paused, checkpoint="an epoch of nobody's")
    old._upload()
    assert Mirror(url, third, 9).fetch()
    assert (third / "checkpoint").read_text() == "4"


def test_a_renamed_file_is_not_sent_again_and_little_is_kept(url, tmp_path):
    here = machine(tmp_path, "here")
    made = Mirror(url, here, 3)
    sent = []
    opened = made.pushes.open
    made.pushes.open = lambda name: (sent.append(name), opened(name))[1]
    for epoch in range(5):
        if (here / "checkpoint").exists():
            (here / "checkpoint").rename(here / "previous")
        put(here, checkpoint=str(epoch))
        made._upload()
        made._upload()
    assert len(sent) == 10, "five contents and five manifests"
    assert objects(made) == ["000003"] * 3 + ["json"] * 2
    made.pushes.remove()
    assert made.pushes.listed(made.pushes.root) == []
    made.pushes.remove()


@pytest.mark.parametrize("harm", ["missing", "damaged", "no manifest"])
def test_of_a_push_that_is_not_whole_the_one_before_takes_the_place(url, tmp_path, harm, caplog):
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    put(here, other="the same in both", checkpoint="1")
    made = push(url, here, 3)
    put(here, checkpoint="2")
    made._upload()
    last = f"{made.pushes.root}/000003/{made.last['checkpoint']}"
    if harm == "missing":
        made.pushes.fs.rm_file(last)
    elif harm == "damaged":
        made.pushes.fs.pipe_file(last, b"x")
    else:
        made.pushes.fs.pipe_file(f"{made.pushes.root}/000003/000002.json", b'{"fil')
    assert Mirror(url, there, 4).fetch()
    assert (there / "checkpoint").read_text() == "1"
    assert "cannot be used" in caplog.text
    assert sorted(p.name for p in there.iterdir()) == [".mirror.json", "checkpoint", "other"]


@pytest.mark.parametrize(
    "planted",
    [
        {"files": {"../owned": "DIGEST"}},
        {"files": {"a/../../owned": "DIGEST"}},
        {"files": {"/OUTSIDE/owned": "DIGEST"}},
        {"files": {"link/owned": "DIGEST"}},
        {"files": {".mirror.json": "DIGEST"}},
        {"files": {"": "DIGEST"}},
        {"files": {"checkpoint\0": "DIGEST"}},
        {"files": {"checkpoint": "../000003/000001.json"}},
        {"files": {"checkpoint": "DIGEST", "checkpoint/x": "DIGEST"}},
        {"files": ["checkpoint"]},
        {"files": None},
        {},
        [],
    ],
    ids=repr,
)
def test_a_manifest_leads_nowhere_but_into_the_run_directory(tmp_path, planted, caplog):
    """Whoever can write to the bucket says what a file is called; the push before it is taken."""
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    outside = tmp_path / "there"
    put(here, checkpoint="1")
    made = push(f"file://{tmp_path}/disk", here, 3)
    text = json.dumps(planted).replace("DIGEST", made.last["checkpoint"])
    text = text.replace("/OUTSIDE", str(outside))
    made.pushes.fs.pipe_file(f"{made.pushes.root}/000003/000009.json", text.encode())
    for name in ("notes.txt", "x.json"):  # of somebody else's
        made.pushes.fs.pipe_file(f"{made.pushes.root}/000003/{name}", b"{}")
    made.pushes.fs.makedirs(f"{made.pushes.root}/elsewhere")
    (there / "link").symlink_to(outside)
    assert Mirror(f"file://{tmp_path}/disk", there, 4).fetch()
    assert (there / "checkpoint").read_text() == "1"
    assert "push (3, 9) cannot be used" in caplog.text
    assert sorted(path.name for path in outside.iterdir()) == [RUN]
    assert {path.name for path in there.iterdir()} <= {"link", "checkpoint", ".mirror.json"}


def test_a_file_that_is_being_written_is_left_for_the_next_push(tmp_path, monkeypatch):
    here = machine(tmp_path, "here")
    put(here, checkpoint="1")
    made = push(f"file://{tmp_path}/disk", here, 3)
    digest = mirror_snapshots.hashlib.file_digest

    def written_to_meanwhile(file, name):
        with (here / "log").open("a") as log:
            log.write("one line more")
        return digest(file, name)

    (here / "log").write_text("one line")
    monkeypatch.setattr(mirror_snapshots.hashlib, "file_digest", written_to_meanwhile)
    with pytest.raises(mirror.Changed):
        made._upload()
    assert made.pushes.made == 1
    monkeypatch.setattr(mirror_snapshots.hashlib, "file_digest", digest)
    made._upload()
    assert sorted(made.last) == ["checkpoint", "log"]


def test_without_a_url_nothing_is_mirrored(tmp_path):
    with kept(None, tmp_path, 3, first=False) as copy:
        assert copy is None


@pytest.mark.parametrize(
    ("endpoint", "bucket"), [("http://127.0.0.1:1", "bucket"), (None, "no-such-bucket")]
)
def test_a_mirror_that_cannot_be_used_is_named_before_the_first_trial(
    s3, monkeypatch, endpoint, bucket
):
    environment = s3 if endpoint is None else s3 | {"AWS_ENDPOINT_URL": endpoint}
    for name, value in {**environment, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TunerError, match=r"study.mirror: .* cannot be used: .*hint: check bucket"):
        mirror.probe(f"s3://{bucket}/x")


def test_a_probe_leaves_nothing(url):
    mirror.probe(url)
    made = Mirror(url, Path("x"), 0)
    assert made.pushes.listed(made.pushes.root.rpartition("/")[0]) == []


def test_who_cannot_read_what_an_earlier_attempt_left_does_not_start_anew(
    s3, monkeypatch, tmp_path
):
    for name, value in {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with (
        pytest.raises(TunerError, match=r"cannot be used: .*Could not connect"),
        kept("s3://bucket/x", machine(tmp_path, "a"), 3, first=False),
    ):
        pass


def test_one_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    here = machine(tmp_path, "here")
    (tmp_path / "file").touch()
    with kept(f"file://{tmp_path}/file/x", here, 3, first=True) as copy:
        put(here, checkpoint="1")
        copy.push()
    assert "not copied" in caplog.text


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("nope://x", "Protocol not known: nope; hint: s3://bucket"),
        ("gs://bucket/x", "needs another package; hint: Please install gcsfs"),
        ("s3://key:secret@bucket/x", None),
        (None, None),
    ],
)
def test_a_url_that_cannot_work_is_refused_before_the_first_trial(asked, expected):
    found = mirror.mistakes(asked)
    assert (expected in str(found[0])) if expected else found == []


@pytest.mark.slow
def test_a_killed_workers_trial_goes_on_on_another_machine(project, s3, tmp_path):
    """Two machines that share a database and a bucket, and no directory."""
    other = Project(tmp_path / "another machine", project.processes)
    for name, text in {**CONF, "../toy.py": OBJECTIVE}.items():
        path = other.directory / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    args = [
        f"storage.url='sqlite:///{tmp_path}/shared.db'", "study.mirror=s3://bucket/studies",
        "study.n_trials=1", "objective.epochs=8", "objective.seconds=0.3", "worker.grace=1.5",
    ]  # fmt: skip
    first = project.start("worker", *args, **s3)
    wait_for(lambda: any(epoch == 4 for _, epoch, _ in project.journal()))
    time.sleep(0.1)  # the push of the third epoch is on its way
    os.kill(first.pid, signal.SIGKILL)
    other.run("worker", *args, **s3)
    assert "resuming from the copy" in other.stderr
    epochs = [epoch for _, epoch, _ in other.journal()]
    assert epochs[0] >= 3, "at most what was under way is repeated"
    assert epochs == list(range(epochs[0], 9))
    (last,) = [t for t in study_of(project, tmp_path) if t.state == TrialState.COMPLETE]
    assert sorted(last.intermediate_values) == list(range(1, 9))
    assert last.system_attrs[HISTORY] == [0]


def study_of(project: Project, tmp_path: Path):
    from tuner.study import study

    url = f"sqlite:///{tmp_path}/shared.db"
    return study.load(url, "toy", grace=60, patience=5).optuna.get_trials()
