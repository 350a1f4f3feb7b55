"""Unwritable directories are refused before any work, with the reason and a hint."""

import os
from pathlib import Path

import pytest

from tests.conftest import Project
from tuner import cli
from tuner.config import directories
from tuner.errors import ConfigError, Mistake, StorageError
from tuner.storage import database
from tuner.worker.tracking import base
from tuner.worker.tracking.base import Nothing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a file").write_text("of somebody's")
    return tmp_path / "a file"


def test_a_directory_need_not_be_there_yet(tmp_path: Path) -> None:
    assert directories.obstacle(tmp_path / "one" / "two") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "one", "one/two"])
def test_a_file_is_no_directory(file: Path, below: str) -> None:
    assert directories.obstacle(file / below) == f"{file} is a file, expected a directory"


def test_a_name_that_is_too_long_in_bytes_is_told(tmp_path: Path) -> None:
    assert directories.obstacle(tmp_path / (255 * "x")) is None
    told = directories.obstacle(tmp_path / "a" / (128 * "é"))
    assert told == f"{20 * 'é'}… exceeds 255 bytes, the limit of its file system"


def test_a_link_to_nowhere_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert "link is a file" in str(directories.obstacle(tmp_path / "link" / "one"))


def test_all_are_told_at_once_and_each_key_once(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        directories.probe([("a", file), ("a", file / "logs"), ("b", "/proc/nowhere"), ("c", ".")])
    reason = "/proc/nowhere cannot be written to (No such file or directory)"
    assert caught.value.mistakes == [
        Mistake("a", f"{file} is a file, expected a directory", "set a=… to another directory"),
        Mistake("b", reason, "set b=… to another directory"),
    ]


def test_where_a_database_would_lie(file: Path) -> None:
    database.probe(f"sqlite:///{file.parent}/new/x.db")
    for ask in (database.probe, database.connect):
        with pytest.raises(StorageError, match="is a file, expected a directory; hint: "):
            ask(f"sqlite:///{file}/x.db")
    assert list(file.parent.iterdir()) == [file]


def test_a_tracker_may_keep_its_directories_to_itself() -> None:
    assert base.directories(Nothing()) == []


def test_where_trackers_write(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("tuner.worker.tracking.tensorboard")
    board = tensorboard.TensorBoard(str(tmp_path))
    assert base.directories(board) == [("tracking.directory", tmp_path)]


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("some/where", "some/where"),
        ("file:///some/where", "/some/where"),
        ("sqlite:///some/x.db", "some"),
        ("sqlite:////some/x.db", "/some"),
        ("http://host:5000", None),
    ],
)
def test_where_mlflow_writes(uri: str, place: str | None) -> None:
    mlflow = pytest.importorskip("tuner.worker.tracking.mlflow")
    found = base.directories(mlflow.MLflow(uri, "digits"))
    assert found == ([] if place is None else [("tracking.uri", Path(place))])


WRONG = {
    "study.dir": ["tune", "study.dir=toy.py/x"],
    "study.dir ": ["check", "study.dir=toy.py/x"],
    "storage.url": ["worker", "storage.url='sqlite:///toy.py/x.db'"],
    "tracking.directory": ["tune", "tracking=tensorboard", "tracking.directory=toy.py"],
    "--run-dir": ["train", "--run-dir=toy.py"],
}


@pytest.mark.parametrize("key", WRONG)
def test_a_command_refuses_before_any_work(project: Project, key: str) -> None:
    if "tracking" in key:
        pytest.importorskip("tensorboard")
    project.call(*WRONG[key], code=2)
    said = project.stderr.removeprefix("checking the configuration …\n")
    assert said.startswith(f"error: {key.strip()}: {project.directory}/toy.py is a file, expected")
    assert said.count("\n") == 1
    assert project.journal() == []
    assert not (project.directory / "runs").exists()


def test_commands_that_write_of_a_study(project: Project) -> None:
    project.call("worker", "study.n_trials=1")
    trained = len(project.journal())
    for name in ("final", "export"):
        (project.directory / "runs/toy" / name).write_text("in the way")
    os.mkfifo(project.directory / "pipe.html")
    for words, told in (
        (["final"], "study.dir: "),
        (["export"], "--output: "),
        (["export", "--output=toy.py/x"], "--output: "),
        (["report", "--output=toy.py/x.html"], "--output: "),
        (["report", "--output=pipe.html"], "--output: pipe.html is a pipe or a device"),
        (["report", f"--output={'é' * 110}.html"], "--output: its name has 225 bytes"),
        (["report", "--output=runs"], "--output: runs is a directory; hint: name a file in it"),
    ):
        project.call(*words, code=2)
        assert f"error: {told}" in project.stderr, project.stderr
        assert "hint: " in project.stderr
    assert len(project.journal()) == trained


def test_a_project_is_not_made_in_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", str(file / "new")]) == 2
    assert "is a file, expected a directory; hint: name another directory" in (
        capsys.readouterr().err
    )
