"""The wall-clock comparison: its arithmetic, one space for all, and no remaining processes."""

import math
import sys
import time
from pathlib import Path

import optuna
import pytest

from benchmarks import end_to_end, tuning
from benchmarks.tuning import SPACE, Run
from tuner.config.composition import Source
from tuner.study import plan

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_data = pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is missing")

SLOW = [(10.0, 0.7), (40.0, 0.85), (90.0, 0.91)]
QUICK = [(5.0, 0.81), (10.0, 0.83), (30.0, 0.87)]


@pytest.fixture
def task(tmp_path):
    return Run(tmp_path / "data", limit=200, epochs=2, seed=1, directory=tmp_path)


def test_the_first_report_that_good_counts():
    assert end_to_end.reached(SLOW, 0.8) == 40
    assert end_to_end.reached(SLOW, 0.95) == math.inf


def test_ratios_are_those_of_pairs_and_leave_out_what_neither_reached():
    assert end_to_end.ratios([QUICK, QUICK], [SLOW, []], 0.8) == [8.0, math.inf]
    assert end_to_end.ratios([QUICK, SLOW], [SLOW, SLOW], 0.9) == [0.0, 1.0]
    assert end_to_end.ratios([QUICK], [QUICK], 0.9) == []


def test_the_table_has_what_anyone_reached():
    lines = end_to_end.table({"tuner": [QUICK], "other": [SLOW]})
    assert "| 0.80 | 5 s | 40 s (8.0) |" in lines
    assert "| 0.89 | not reached | 90 s |" in lines
    assert lines[-2:] == ["| best, mean of seeds | 0.8700 | 0.9100 |", "| epochs | 3 | 3 |"]


def test_marks_after_the_end_do_not_count(tmp_path):
    (tmp_path / "marks").write_text("112.5 0.5\n103.0 0.4\n161.0 0.9\n")
    assert end_to_end.read(tmp_path / "marks", 100.0, 60.0) == [(3.0, 0.4), (12.5, 0.5)]
    assert end_to_end.read(tmp_path / "none", 100.0, 60.0) == []


def test_a_search_that_ends_by_itself_is_an_error(monkeypatch, task):
    ends = [sys.executable, "-c", "print('no data'); raise SystemExit(3)"]
    monkeypatch.setitem(end_to_end.SEARCHES, "ends", lambda task: ends)
    with pytest.raises(SystemExit, match="ends ended by itself, with 3:\nno data"):
        end_to_end.search("ends", task, 60.0)


@pytest.mark.slow
def test_a_search_that_reports_nothing_is_an_error(monkeypatch, task):
    waits = [sys.executable, "-c", "print('waiting', flush=True); import time; time.sleep(600)"]
    monkeypatch.setitem(end_to_end.SEARCHES, "waits", lambda task: waits)
    with pytest.raises(SystemExit, match="waits reported nothing in 4 s:\nwaiting"):
        end_to_end.search("waits", task, 4.0)


@pytest.mark.slow
def test_a_search_is_stopped_with_all_that_it_started(monkeypatch, task):
    code = (
        "import os, subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(task.marks)!r}, 'w').write(f'{{time.time()}} 0.5\\n'); "
        f"open({str(task.directory / 'child')!r}, 'w').write(str(child.pid)); "
        "time.sleep(600)"
    )
    monkeypatch.setitem(end_to_end.SEARCHES, "sleeps", lambda task: [sys.executable, "-c", code])
    marks = end_to_end.search("sleeps", task, 5.0)
    assert [value for _, value in marks] == [0.5]
    child = Path("/proc") / (task.directory / "child").read_text()
    end = time.monotonic() + 280
    while (state := _state(child)) not in ("gone", "Z") and time.monotonic() < end:
        time.sleep(0.05)  # a signal needs a moment
    assert state in ("gone", "Z"), state


def _state(process: Path) -> str:
    """As the kernel calls it; Z is dead and not yet waited for."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


@needs_data
def test_ours_searches_the_same_space_as_the_others(tmp_path):
    _, _, _, command, *overrides = tuning.ours(Run(DEBIAN, 200, 2, 1, tmp_path))
    assert command == "tune"
    found = plan.load(Source(), [*overrides, f"storage.url=sqlite:///{tmp_path}/db"]).require()
    assert found.queue == ()
    trial = optuna.create_study().ask()
    found.space.suggest(trial)
    assert trial.distributions == SPACE


@needs_data
def test_a_configuration_is_trained_with_a_mark_a_report(tmp_path):
    task = Run(DEBIAN, 200, 2, 1, tmp_path)
    reported = []
    study = optuna.create_study()
    params = {name: tuning.suggest(study.ask(), name, d) for name, d in SPACE.items()}
    small = {"model.depth": 2, "model.convs": 1, "model.width": 4, "optimizer.lr": 1e-3}
    value = tuning.run(task, params | small, 7, lambda epoch, **metrics: reported.append(metrics))
    marks = end_to_end.read(task.marks, 0.0, math.inf)
    assert [accuracy for _, accuracy in marks] == [m["accuracy"] for m in reported]
    assert len(reported) == 2
    assert value == reported[-1]["accuracy"]
