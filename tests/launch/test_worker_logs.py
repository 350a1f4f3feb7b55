"""Commands on one study write to separate logs, and print where these are."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project
from tuner.launch import worker_logs
from tuner.launch.worker_logs import claim, where


def test_numbers_that_are_written_to_are_passed_over_and_come_back(tmp_path: Path) -> None:
    first, second = claim(tmp_path), claim(tmp_path)
    assert [log.path.name for log in (first, second)] == ["worker-0.log", "worker-1.log"]
    first.file.write(b"kept")
    first.file.close()
    with claim(tmp_path).file as again:
        assert Path(str(again.name)).name == "worker-0.log"
        assert Path(str(again.name)).read_bytes() == b"kept"
    second.file.close()


def test_a_worker_that_outlives_its_command_keeps_its_log(tmp_path: Path) -> None:
    log = claim(tmp_path)
    with log.file:
        worker = subprocess.Popen(["sleep", "60"], stdout=log.file)
    with claim(tmp_path).file as other:
        assert Path(str(other.name)).name == "worker-1.log"
    worker.kill()
    worker.wait()
    with claim(tmp_path).file as other:
        assert Path(str(other.name)).name == "worker-0.log"


def test_without_locks_there_is_a_log_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlockable(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(worker_logs.fcntl, "flock", unlockable)
    with claim(tmp_path).file, claim(tmp_path).file as second:
        assert Path(str(second.name)).name == "worker-0.log"


def test_the_files_are_named_where_others_may_lie_beside_them(tmp_path: Path) -> None:
    claimed = [claim(tmp_path) for _ in range(6)]
    assert where(tmp_path, claimed[:2]) == f"logs in {tmp_path}"
    assert where(tmp_path, claimed[1:3]) == f"logs in {tmp_path}: worker-1.log, worker-2.log"
    assert where(tmp_path, claimed[1:]) == f"logs in {tmp_path}: worker-1.log, …, worker-5.log"
    for log in claimed:
        log.file.close()


def test_a_second_command_has_logs_of_its_own(project: Project) -> None:
    args = ["study.n_trials=4", "objective.fate=wait", "launch.workers=1"]
    first = project.start("tune", *args)
    project.wait_until_held()
    second = project.start("tune", *args)
    project.wait_until_held(2)
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=280)
    assert "study 'toy': logs in runs/toy/logs: worker-1.log" in err
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=280)
    assert "study 'toy': logs in runs/toy/logs\n" in err
    directory = project.directory / "runs/toy/logs"
    texts = {path.name: path.read_text() for path in directory.iterdir()}
    assert {name: text.count("stopping (SIGINT)") for name, text in texts.items()} == {
        "worker-0.log": 1,
        "worker-1.log": 1,
    }
