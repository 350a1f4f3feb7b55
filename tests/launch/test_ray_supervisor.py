"""The keeper of a single worker, without Ray."""

import signal
from pathlib import Path

from tests.conftest import wait_for
from tuner.launch import restarts
from tuner.launch.base import last_line
from tuner.launch.ray_supervisor import Keeper


def keep(directory: Path, script: str, **change: object) -> Keeper:
    """A keeper of a shell command in the place of the worker."""
    python = f"import subprocess, sys; sys.exit(subprocess.call({script!r}, shell=True))"
    keys = {
        "place": "here",
        "command": ["python", "-c", python],
        "environment": {},
        "threads": 1,
        "directory": str(directory),
        "log": "logs/worker.log",
        "max_restarts": 3,
    }
    return Keeper(**(keys | change))


def test_a_dead_worker_is_replaced_until_one_ends_well(tmp_path, monkeypatch):
    """… and each knows whom it replaces."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)
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


def test_a_worker_that_gave_way_is_left_to_the_engine(tmp_path):
    assert keep(tmp_path, "echo its turn is over; exit 79").wait() == (79, "its turn is over")


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


def test_stopping_ends_the_pause_before_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 3600.0)
    keeper = keep(tmp_path, "echo dead; exit 9")
    wait_for(lambda: last_line(keeper.log) == "dead" and not keeper.process)
    keeper.stop(signal.SIGTERM)
    assert keeper.wait() == (9, "dead")
