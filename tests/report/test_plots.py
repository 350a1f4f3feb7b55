"""Figures are valid plotly figures in all states of a study, and show the right data."""

import math
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from tests.samples import HOSTILE, C, P, add, full_study, new_study
from tuner.report.analysis.importance import importances
from tuner.report.analysis.pareto import front
from tuner.report.html.page import page
from tuner.report.html.parallel_coordinates import parallel
from tuner.report.html.parameters import bars, log_ticks, slices
from tuner.report.html.plots import MAX_CURVES, curves, curves_shown, history, pareto, robust_range
from tuner.report.markdown import markdown
from tuner.report.summary import Summary, summarise


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return full_study(tmp_path_factory.mktemp("full"), 40)


@pytest.fixture(scope="module")
def summary(full: Any) -> Summary:
    return summarise(full)


def named(shape: Any, name: str) -> dict[str, Any]:
    (trace,) = [trace for trace in shape["data"] if trace["name"] == name]
    return dict(trace)


def test_every_figure_is_one_that_plotly_accepts(full: Any, summary: Summary) -> None:
    shapes = [history(summary), curves(summary), parallel(summary)]
    found = importances(full, summary)
    assert not isinstance(found, str)
    shapes.append(bars(found))
    for shape in [*shapes, *slices(summary).values()]:
        assert isinstance(shape, dict)
        go.Figure(shape)  # raises on a property that plotly.js does not know


def test_history_improves_monotonically_and_leaves_out_the_diverged(summary: Summary) -> None:
    shape = history(summary)
    line = named(shape, "best so far")["y"]
    assert line == sorted(line)
    assert summary.best is not None
    assert line[-1] == summary.best.value
    pruned = [row.number for row in summary.rows if row.state == "pruned" and not row.reason]
    assert named(shape, "pruned")["x"] == pruned


def test_history_falls_when_lower_is_better(tmp_path: Path) -> None:
    study = new_study(tmp_path, direction="minimize")
    for value in (0.5, 0.7, 0.2):
        add(study, C, [value])
    assert named(history(summarise(study)), "best so far")["y"] == [0.5, 0.2, 0.2]


def test_curves_are_coloured_by_fate_with_gaps_between(summary: Summary) -> None:
    shape = curves(summary)
    assert isinstance(shape, dict)
    assert [trace["name"] for trace in shape["data"]] == [
        "pruned",
        "infeasible",
        "running",
        "complete",
        "best",
    ]
    assert len({trace["line"]["color"] for trace in shape["data"]}) == 5
    complete = named(shape, "complete")
    assert complete["x"].count(None) == summary.counts["complete"] - 1
    best = named(shape, "best")
    assert summary.best is not None
    assert best["y"][:-1] == list(summary.best.curve.values())


def test_a_curve_with_nan_and_one_epoch_are_drawn(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, P, [0.3, math.inf, 0.5])
    assert named(curves(summarise(study)), "pruned")["y"] == [0.3, None, 0.5, None]
    other = new_study(tmp_path, "other")
    add(other, P, [0.3])
    assert named(curves(summarise(other)), "pruned")["mode"] == "markers"


def test_a_curve_of_one_epoch_is_a_dot_beside_lines_too(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, P, [0.3])
    add(study, P, [0.2, 0.4])
    lines, dots = curves(summarise(study))["data"]  # type: ignore[index]
    assert (lines["mode"], lines["x"]) == ("lines", [1, 2, None])
    assert (dots["mode"], dots["x"], dots["showlegend"]) == ("markers", [1, None], False)
    assert lines["legendgroup"] == dots["legendgroup"] == "pruned"


def test_there_is_no_tick_between_two_epochs(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.1] * 5)
    for shape in (curves(summarise(study)), history(summarise(study))):
        assert isinstance(shape, dict)
        assert shape["layout"]["xaxis"]["dtick"] == 1
    add(study, C, [0.1] * 50)
    assert "dtick" not in curves(summarise(study))["layout"]["xaxis"]  # type: ignore[index]


def test_of_many_curves_the_best_are_kept(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for number in range(5):
        add(study, C, [number / 10])
    few = summarise(study)
    rows = [row for _ in range(200) for row in few.rows]
    many = Summary(**{**vars(few), "rows": [
        type(row)(**{**vars(row), "number": k}) for k, row in enumerate(rows)
    ]})  # fmt: skip
    shown = curves_shown(many)
    assert len(shown) <= MAX_CURVES
    assert set(row.number for row in many.ranking[: MAX_CURVES // 4]) <= {r.number for r in shown}


def test_too_few_for_importances_is_a_note(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert "there are 0" in str(importances(study, summarise(study)))


def test_importances_leave_out_trials_that_have_lost_their_values(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k in range(11):
        add(study, C, [k / 20], params={"model.width": 20 + k})
    with study._storage._backend.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trial_values WHERE trial_id = 1")
    (found,) = importances(study, summarise(study))
    assert (found.name, found.share) == ("model.width", 1.0)


@pytest.mark.parametrize("case", ["one value each", "same score", "no parameters"])
def test_importances_without_an_answer_are_a_note(tmp_path: Path, case: str) -> None:
    study = new_study(tmp_path)
    for k in range(12):
        params = {"no parameters": {}, "one value each": {"model.width": 32}}.get(
            case, {"model.width": 20 + k}
        )
        add(study, C, [0.5 if case == "same score" else k / 20], params=params)
    assert isinstance(importances(study, summarise(study)), str)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_importances_find_the_parameter_that_matters(tmp_path: Path, direction: str) -> None:
    study = new_study(tmp_path, direction=direction)
    for k in range(60):
        params = {"model.width": 16 + k, "model.norm": k % 2 == 0, "model.layers": 3}
        add(study, C, [k / 60], params=params)
    found = importances(study, summarise(study))
    assert not isinstance(found, str)
    assert found[0].name == "model.width"
    assert "model.layers" not in [row.name for row in found]
    (drawn,) = bars(found)["data"]
    assert sum(drawn["x"]) == pytest.approx(1)
    assert drawn["y"][-1] == "model.width  <b>100%</b>"


def test_a_share_has_the_middle_of_its_resamples_around_it(full: Any, summary: Summary) -> None:
    found = importances(full, summary)
    assert not isinstance(found, str)
    assert all(row.low <= row.share <= row.high for row in found)
    assert any(row.high - row.low > 0.02 for row in found)
    (drawn,) = bars(found)["data"]
    ends = [x + up for x, up in zip(drawn["x"], drawn["error_x"]["array"], strict=True)]
    assert ends == pytest.approx([row.high for row in reversed(found)])
    assert importances(full, summary) == found  # resampled by a seed of its own


def test_slices_come_in_the_order_of_importance(full: Any, summary: Summary) -> None:
    found = importances(full, summary)
    assert not isinstance(found, str)
    names = [row.name for row in found]
    assert list(slices(summary, names))[: len(names)] == names


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1e-5, 1e-2, [1e-5, 1e-4, 1e-3, 1e-2]),
        (16, 128, [20, 50, 100]),
        (0.001, 0.01, [0.001, 0.002, 0.005, 0.01]),
        (1e-9, 1, [1e-9, 1e-6, 1e-3, 1]),
        (21, 31, [21, 31]),
    ],
)
def test_a_log_axis_has_few_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_two_objectives_have_a_front(tmp_path: Path) -> None:
    import optuna

    study = optuna.create_study(directions=["maximize", "minimize"])
    study.set_user_attr("metric", "accuracy")
    for values in ([0.9, 5.0], [0.8, 1.0], [0.7, 4.0], [0.95, 9.0]):
        study.add_trial(optuna.create_trial(values=values))
    summary = summarise(study)
    assert len(summary.objectives) == 2
    shape = pareto(summary, front(summary))
    assert isinstance(shape, dict)
    go.Figure(shape)
    best = named(shape, "Pareto front")
    found = sorted(zip(best["x"], best["y"], strict=True))
    assert found == [(0.8, 1), (0.9, 5), (0.95, 9)]
    assert len(named(shape, "complete")["x"]) == 4
    assert "## Pareto front" in markdown(study, summary, {})
    assert "Pareto front" in page(study, summary, {})
    assert "Pareto front" not in page(new_study(tmp_path), summarise(new_study(tmp_path, "b")), {})


def test_the_important_axes_come_first_and_the_others_may_be_left_out(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k in range(4):
        params = {"optimizer": ("sgd", "adamw")[k % 2], "model.width": 16 + k}
        add(study, C, [k / 10], params=params)
    summary = summarise(study)
    for most, titles in ((None, ["width", "optimizer", "accuracy"]), (1, ["width", "accuracy"])):
        shape = parallel(summary, ["model.width"], most)
        assert isinstance(shape, dict)
        told = [note["text"] for note in shape["layout"]["annotations"] if "<b>" in note["text"]]
        assert [text.partition("</b>")[0].removeprefix("<b>val_") for text in told] == [
            title if title == "accuracy" else f"<b>{title}" for title in titles
        ]


def test_an_axis_of_whole_numbers_has_no_fractions(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for width in (16, 17, 19):
        add(study, C, [width / 100], params={"model.width": width})
    shape = parallel(summarise(study))
    assert isinstance(shape, dict)
    notes = [note for note in shape["layout"]["annotations"] if note["x"] == 0]
    ticks = {note["text"]: note["y"] for note in notes if "<b>" not in note["text"]}
    assert list(ticks) == ["16", "17", "18", "19"]
    assert ticks["17"] == pytest.approx(math.log(17 / 16) / math.log(19 / 16))


def test_a_fifth_of_one_value_names_it_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k in range(6):
        add(study, C, [k / 10], params={"model.width": 16 + k})
    names = [trace["name"] for trace in parallel(summarise(study))["data"]]  # type: ignore[index]
    assert names == ["0 to 0.1", "0.2", "0.3", "0.4", "0.5"]


def test_parallel_merges_branches_and_places_what_is_not_set(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.1], params={"optimizer": "sgd", "optimizer.lr@sgd": 0.1})
    add(study, C, [0.2], params={"optimizer": "adamw", "optimizer.lr@adamw": 0.001})
    add(study, C, [0.3], params={"model.norm": True, "loss.weights": None})
    add(study, C, [0.4], params={"model.norm": False, "loss.weights": "balanced"})
    shape = parallel(summarise(study))
    assert isinstance(shape, dict)
    titles = [note["text"] for note in shape["layout"]["annotations"] if "<b>" in note["text"]]
    assert titles == [
        "<b>optimizer</b>", "<b>lr</b><br>optimizer", "<b>norm</b><br>model",
        "<b>weights</b><br>loss", "<b>val_accuracy</b>",
    ]  # fmt: skip
    words = {note["text"] for note in shape["layout"]["annotations"]}
    assert {"null", "balanced", "true", "false", "not set", "0.01"} <= words
    best = shape["data"][-1]
    assert best["y"] == [-0.12, -0.12, 1.0, 1.0, 1.0, None]


def test_slices_use_the_scale_of_the_distribution(summary: Summary) -> None:
    shapes = slices(summary)
    assert "model.layers" not in shapes  # it took one value
    kinds = {name: shape["layout"]["xaxis"]["type"] for name, shape in shapes.items()}
    assert kinds["model.width"] == kinds["optimizer.lr@sgd"] == "log"
    assert kinds["model.norm"] == kinds["loss.weights"] == "category"
    shown = [x for trace in shapes["loss.weights"]["data"] for x in trace["x"]]
    assert set(shown) == {"null", "balanced"}
    assert shapes["optimizer"]["layout"]["xaxis"]["categoryarray"] == ["sgd", "adamw"]


def test_strings_are_escaped_for_plotly(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.set_user_attr("metric", HOSTILE)
    add(study, C, [0.1], params={"optimizer": "sgd"})
    assert "<script" not in str(history(summarise(study)))


def test_an_outlier_does_not_set_the_range() -> None:
    values = [0.5, 0.52, 0.53, 0.55, 0.56, 0.58, 0.6, 0.61, 1e9]
    found = robust_range(values)
    assert found is not None
    assert found[0] < 0.5
    assert 0.61 < found[1] < 1
    assert robust_range([1.0] * 20) is None
    assert robust_range([]) is None


def test_long_names_of_choices_are_shortened_and_may_turn(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    names = [f"efficientnet_{k:02d}_pretrained" for k in range(20)]
    study.optimize(lambda t: len(t.suggest_categorical("model", names)) + t.number, n_trials=20)
    axis = slices(summarise(study))["model"]["layout"]["xaxis"]
    assert "tickangle" not in axis  # plotly.js turns them where they would overlap
    assert len(axis["tickvals"]) == len(axis["ticktext"]) <= 12
    assert max(map(len, axis["ticktext"])) == 14
    assert set(axis["tickvals"]) < set(axis["categoryarray"])
