"""The trials of a study on a terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import RenderableType

from tests.samples import HOSTILE, NOW, C, F, add, full_study, new_study
from tuner.report.summary import summarise
from tuner.report.terminal import trials
from tuner.report.terminal.screen import Screen


def drawn(shown: RenderableType, width: int = 80) -> str:
    screen = Screen(markup=False, emoji=False)
    screen.file, screen.width = io.StringIO(), width
    screen.print(shown)
    return str(screen.file.getvalue())


@pytest.mark.parametrize("width", [80, 160])
def test_each_trial_has_one_line_and_what_varies_comes_first(tmp_path: Path, width: int):
    found = summarise(full_study(tmp_path), now=NOW)
    lines = drawn(trials.table(found, found.rows), width).splitlines()
    assert len(lines) == 1 + len(found.rows)
    assert all(len(line) <= width for line in lines)
    assert "width=16 " in lines[1]
    assert "lr=0.001" in lines[1]
    assert "ValueError: bad shape" in lines[1 + 26]


def test_settings_that_all_share_are_said_once(tmp_path: Path):
    found = summarise(full_study(tmp_path), now=NOW)
    said = drawn(trials.table(found, found.rows[:8]), 200)
    assert said.count("layers=3") == 1
    assert "in all of them: layers=3" in said
    assert drawn(trials.table(found, [])).strip() == "no such trial"


def test_one_trial_has_its_settings_curves_outcome_files_and_log(tmp_path: Path):
    study = new_study(tmp_path)
    run_dir = tmp_path / "trials" / "00000-01234567"
    run_dir.mkdir(parents=True)
    (run_dir / "checkpoint.pt").write_bytes(b"0" * 2500)
    metrics = [{"step": k, "loss": 1 / k, "name": "text"} for k in (1, 2, 3)]
    (run_dir / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics)))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker-0.log").write_text(
        "2026-01-05 12:00:00 trial 0 is requeued: w0\n2026-01-05 12:00:01 trial 10 complete 1\n"
        "2026-01-05 12:00:02 trial 0 failed:\nTraceback\n2026-01-05 12:00:03 the end of trial 1\n"
    )
    add(study, C, [0.5, 0.75, 0.875], params={"model.width": 32}, run_dir=str(run_dir), worker="w0",
        host="here", facts={"parameters": 1234})  # fmt: skip
    found = summarise(study, now=NOW)
    said = drawn(trials.details(found, found.rows[0], tmp_path, "tuner train model.width=32"), 250)
    for text in (
        "digits #0  complete  val_accuracy 0.875  the best so far", "model.width  32",
        "val_accuracy  ▁▆█  0.5 to 0.875", "loss          █▃▁  1 to 0.33333", "epochs      3",
        "worker      w0 on here", "parameters  1234", f"directory   {run_dir}",
        f"checkpoint  {run_dir / 'checkpoint.pt'} (2.5 kB)", "  tuner train model.width=32",
        "log:\n  2026-01-05 12:00:00 trial 0 is requeued: w0\n"
        "  2026-01-05 12:00:02 trial 0 failed:\n  Traceback\n",
    ):  # fmt: skip
        assert text in "\n".join(line.rstrip() for line in said.splitlines()), text
    assert "trial 10" not in said


def test_a_failure_shows_its_reason_and_traceback_and_where_its_files_would_be(tmp_path: Path):
    study = new_study(tmp_path)
    add(study, F, [], reason="ValueError: bad", reason_hint="a good one", traceback="Trace\n  back",
        run_dir="runs/elsewhere/trials/00000-01234567")  # fmt: skip
    found = summarise(study, now=NOW)
    said = drawn(trials.details(found, found.rows[0], tmp_path, ""), 120)
    assert "reason  ValueError: bad" in said
    assert "hint    a good one" in said
    assert "\nTrace\n  back\n" in said
    assert "not on this machine: runs/elsewhere/trials/00000-01234567" in said
    assert "train it again" not in said


def test_nothing_of_a_stranger_reaches_the_terminal_as_it_is(tmp_path: Path):
    study = new_study(tmp_path)
    evil = f"\x1b[2J\u202e{HOSTILE}"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text(f"2026-01-05 12:00:00 trial 0 {evil}\n")
    add(study, F, [0.5], reason=evil, traceback=evil, run_dir=evil, host=evil, worker=evil,
        facts={evil: evil})  # fmt: skip
    found = summarise(study, now=NOW)
    for shown in (
        trials.table(found, found.rows), trials.details(found, found.rows[0], tmp_path, ""),
    ):  # fmt: skip
        said = drawn(shown)
        assert all(c.isprintable() or c == "\n" for c in said)


def test_a_log_that_is_long_is_cut_at_the_front(tmp_path: Path):
    study = new_study(tmp_path)
    add(study, C, [0.5])
    (tmp_path / "logs").mkdir()
    lines = [f"2026-01-05 12:00:{k:02} trial 0 line {k}\n" for k in range(30)]
    (tmp_path / "logs" / "a.log").write_text("".join(lines))
    found = summarise(study, now=NOW)
    said = drawn(trials.details(found, found.rows[0], tmp_path, ""))
    assert "… 10 lines before" in said
    assert ("line 9\n" in said, "line 10\n" in said, "line 29\n" in said) == (False, True, True)
