"""Rows, counts and fractions refer to configurations, not attempts."""

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.samples import NOW, C, F, P, R, W, add, full_study, new_study
from tuner.report.commands import UNKNOWN
from tuner.report.configurations import as_data
from tuner.report.contents import time_spent
from tuner.report.summary import summarise
from tuner.report.terminal.view import table
from tuner.study.budget import Times


def test_an_empty_study(tmp_path: Path) -> None:
    summary = summarise(new_study(tmp_path))
    assert summary.rows == []
    assert set(summary.counts.values()) == {0}
    assert (summary.best, summary.hourly, summary.epochs_saved_fraction, summary.epochs_saved) == (
        None,
    ) * 4
    assert (summary.wall, summary.epochs, summary.failures) == (0, 0, {})


def test_a_retried_trial_is_one_configuration(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5, 0.6])
    add(study, F, [0.1, 0.2], start=10, reason="preempted")
    add(study, F, [0.1, 0.2, 0.3], start=20, retry_of=1, reason="worker lost")
    add(study, C, [0.1, 0.2, 0.3, 0.9], start=30, retry_of=1, reason="worker lost")
    summary = summarise(study, now=NOW)
    assert [row.number for row in summary.rows] == [0, 1]
    row = summary.rows[1]
    assert (row.state, row.value, row.attempts, row.seconds) == ("complete", 0.9, 3, 30)
    assert row.curve == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.9}
    assert row.reason is None
    assert summary.epochs == 6
    assert summary.failures == {}


def test_a_requeued_trial_is_queued_not_failed(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, F, [0.1], reason="preempted")
    add(study, W, [0.1], retry_of=0, reason="preempted")
    (row,) = summarise(study, now=NOW).rows
    assert (row.state, row.reason, row.latest) == ("queued", None, 0.1)


@pytest.mark.parametrize(("direction", "number"), [("maximize", 2), ("minimize", 0)])
def test_best_heeds_direction_and_ignores_the_pruned(
    tmp_path: Path, direction: str, number: int
) -> None:
    study = new_study(tmp_path, direction=direction)
    for state, value in [(C, 0.2), (P, 0.99), (C, 0.8), (P, 0.01), (C, 0.8), (C, 0.2)]:
        add(study, state, [value])
    summary = summarise(study, now=NOW)
    assert summary.best is not None
    assert summary.best.number == number


def test_best_is_plain_data_with_paths_for_names(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    params = {"optimizer": "sgd", "optimizer.lr@sgd": 0.1}
    overrides = ["data=digits", "optimizer=sgd", "optimizer.lr=0.1", "seed=3"]
    add(study, C, [0.9], params=params, overrides=overrides, metrics={"val_accuracy": 0.9})
    (row,) = summarise(study).ranking
    assert as_data(row, lambda row: list(row.stored)) == {
        "number": 0,
        "value": 0.9,
        "params": {"optimizer": "sgd", "optimizer.lr": 0.1},
        "overrides": overrides,
        "metrics": {"val_accuracy": 0.9},
        "facts": {},
    }


def test_a_value_on_a_grid_is_told_as_it_was_run(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    grid = optuna.distributions.FloatDistribution(0.0, 0.9, step=0.1)
    drawn = 3 * 0.1
    study.add_trial(optuna.create_trial(params={"x": drawn}, distributions={"x": grid}, value=1))
    assert study.trials[0].params == {"x": 0.30000000000000004}
    (row,) = summarise(study).ranking
    assert as_data(row, UNKNOWN.known)["params"] == {"x": 0.3}


def test_what_pruning_saved(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for length in (10, 10, 10):
        add(study, C, [0.5] * length)
    add(study, P, [0.1] * 2)
    add(study, P, [0.1] * 4)
    add(study, P, [0.1] * 3, reason="diverged")  # could not have gone on: nothing saved
    summary = summarise(study, now=NOW)
    assert (summary.full_length, summary.epochs, summary.epochs_saved) == (10, 39, 14)
    assert summary.epochs_saved_fraction == pytest.approx(14 / 53)


def test_where_the_time_went(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert time_spent(summarise(study))[1] == []
    add(study, C, [0.5] * 4, seconds=40)
    add(study, P, [0.1] * 2, seconds=20)
    add(study, P, [0.1] * 3, seconds=30)
    add(study, F, [], seconds=10)
    summary = summarise(study)
    assert time_spent(summary) == (
        ["state", "configurations", "epochs", "device time", "share"],
        [
            ["pruned", "2", "5", "50 s", "50%"],
            ["complete", "1", "4", "40 s", "40%"],
            ["failed", "1", "0", "10 s", "10%"],
        ],
    )
    two_at_a_time = replace(summary, times=Times(hours=50 / 3600, device_hours=50 / 3600))
    assert time_spent(two_at_a_time)[1][0][3:] == ["25 s", "50%"]


def test_an_objective_that_reports_nothing_saves_nothing(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    summary = summarise(study)
    assert (summary.counts["complete"], summary.full_length, summary.epochs_saved_fraction) == (
        2,
        None,
        None,
    )


def test_wall_time_is_the_time_with_work_under_way(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5], start=0, seconds=10)
    add(study, C, [0.5], start=5, seconds=10)  # overlaps: another worker
    add(study, C, [0.5], start=100, seconds=20)  # after a pause
    add(study, R, [], start=395)
    summary = summarise(study, now=NOW)
    assert summary.wall == 15 + 20 + 5
    assert summary.hourly == pytest.approx(3 * 3600 / 40)


def test_failures_are_grouped_by_reason_largest_first(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, F, [], reason="ValueError: a", traceback="Traceback …")
    add(study, P, [0.1], reason="diverged")
    add(study, P, [0.1], reason="diverged")
    add(study, F, [])
    add(study, P, [0.1])
    groups = summarise(study).failures
    assert {reason: [row.number for row in rows] for reason, rows in groups.items()} == {
        "diverged": [1, 2],
        "ValueError: a": [0],
        "unknown": [3],
    }
    assert next(iter(groups)) == "diverged"
    assert groups["ValueError: a"][0].traceback == "Traceback …"


def test_reasons_that_differ_in_numbers_alone_are_one_group(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for reason in ("diverged: loss is nan at step 3", "diverged: loss is nan at step 12", "other"):
        add(study, P, [0.1], reason=reason)
    groups = summarise(study).failures
    assert [len(rows) for rows in groups.values()] == [2, 1]
    assert next(iter(groups)) == "diverged: loss is nan at step 3"


def test_a_failed_attempt_marked_for_another_is_queued(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.ask()
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, "tuner:requeue", {"reason": "SIGTERM"})
    study.tell(trial, state=F)
    assert [row.state for row in summarise(study).rows] == ["running", "queued"]


def test_infinite_values_rank_and_nan_is_last(tmp_path: Path) -> None:
    study = new_study(tmp_path, direction="minimize")
    for value in (math.inf, 1.0, -math.inf):
        add(study, C, [value])
    assert [row.number for row in summarise(study).ranking] == [2, 1, 0]
    assert summarise(study).loss(math.nan) == math.inf


def test_the_full_study_counts(tmp_path: Path) -> None:
    summary = summarise(full_study(tmp_path), now=NOW)
    assert summary.counts == {
        "complete": 13, "pruned": 12, "infeasible": 1, "failed": 1, "running": 1, "queued": 1,
    }  # fmt: skip
    assert summary.over == 27


def test_several_objectives_are_summarised_by_the_first(tmp_path: Path) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 5.0), n_trials=3)
    summary = summarise(study)
    assert summary.best is not None
    assert summary.best.value == min(trial.values[0] for trial in study.trials)
    titles = [column.header for column in table(summary).columns]
    assert titles == ["#", *summary.objectives, "epochs", "time", "settings"]


def test_conditions_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert summarise(study).searched[0] == ["parameter", "distribution", "only with"]
    study.set_user_attr("space", [{"name": "x", "distribution": "float 0 to 1", "condition": None}])
    assert summarise(study).searched == (["parameter", "distribution"], [["x", "float 0 to 1"]])
