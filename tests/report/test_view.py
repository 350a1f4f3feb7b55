"""A study drawn on a terminal: no line is too wide, and colour is never the only signal."""

import io
from datetime import timedelta
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console, RenderableType

from tests.samples import START, add, full_study, new_study
from tuner.report.summary import Summary, summarise
from tuner.report.terminal.log_lines import best_line
from tuner.report.terminal.view import picture, sparkline

C, R = TrialState.COMPLETE, TrialState.RUNNING
NOW = START + timedelta(seconds=400)


def drawn(shown: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def view(summary: Summary, width: int = 80, n_trials: int | None = 40) -> list[str]:
    return drawn(picture(summary, width=width, rows=9, n_trials=n_trials, epochs=10), width)


@pytest.mark.parametrize("width", [40, 60, 76, 80, 104, 120, 200])
def test_no_line_is_wrapped_at_any_width(tmp_path: Path, width: int) -> None:
    shown = view(summarise(full_study(tmp_path), now=NOW), width)
    assert len(shown) == 7
    assert shown[1].startswith("━")
    assert "27 of 40" in shown[1]
    assert "2/10" in shown[6]


def test_wider_terminals_show_the_curve_and_then_the_place(tmp_path: Path) -> None:
    summary = summarise(full_study(tmp_path), now=NOW)
    assert [
        ("▁" in view(summary, w)[6], "cuda:0" in view(summary, w)[6]) for w in (60, 80, 120)
    ] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_one_place_for_all_is_not_repeated_in_each_line(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, R, [0.1], device="cuda:0", worker="w")
    add(study, R, [0.1], device="cuda:0", worker="w")
    assert "where" not in view(summarise(study, now=NOW), 120)[5]
    add(study, C, [0.1], device="cuda:1", worker="v")
    assert "where" in view(summarise(study, now=NOW), 120)[5]


def test_what_is_done_and_what_is_left_differ_without_colours(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, R, [0.1] * 5)
    (line,) = [line for line in view(summarise(study, now=NOW)) if "5/10" in line]
    assert line.count("━") == pytest.approx(line.count("─"), abs=1)


def test_the_bar_never_leaves_its_width(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(3):
        add(study, C, [0.5] * 30)
    assert len(view(summarise(study, now=NOW), n_trials=2)[1]) <= 80
    assert view(summarise(study, now=NOW), n_trials=None)


def curve(study_dir: Path, values: list[float]) -> str:
    study = new_study(study_dir, f"s{len(values)}{sum(map(str.isdigit, str(values)))}")
    add(study, R, values)
    (row,) = summarise(study, now=NOW).rows
    return sparkline(row, 10, 20)


def test_a_curve_fills_its_place_as_its_trial_goes_on(tmp_path: Path) -> None:
    assert curve(tmp_path, []) == ""
    assert len(curve(tmp_path, [0.5] * 10)) == 5
    whole = curve(tmp_path, [k / 19 for k in range(20)])
    assert len(whole) == 10
    assert list(whole) == sorted(whole)
    assert (whole[0], whole[-1]) == ("▁", "█")


def test_a_curve_is_drawn_over_its_own_range(tmp_path: Path) -> None:
    assert curve(tmp_path, [0.75, 0.75, 0.8125, 0.8125, 0.875, 0.875]) == "▁▅█"
    assert len(set(curve(tmp_path, [0.5] * 7))) == 1


def test_the_best_line_begins_with_the_learning_rate_and_what_varies(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k in range(2):
        params = {"model.layers": 3, "model.width": 18 + k, "optimizer.lr@sgd": 0.1 + k / 10}
        add(study, C, [0.9], params=params)
    line = best_line(summarise(study, now=NOW))
    assert line == "best 0.9 (#0) lr=0.1 width=18 layers=3"


def test_a_curve_may_leave_the_scale_or_be_no_number(tmp_path: Path) -> None:
    assert curve(tmp_path, [-5.0, -5.0, 9.0, 9.0, float("nan"), float("nan")]) == "▁█ "
