"""Errors while storing a trial are attributed to the database, never to the objective."""

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from tests.storage.test_outages import postgresql, wrapped
from tests.study.test_next_trial import Bench
from tuner.errors import StorageLost
from tuner.study.attempts import REQUEUE
from tuner.study.budget import Budget
from tuner.worker import trial
from tuner.worker.outcome import AttemptEnd
from tuner.worker.reporter import Context


class Attempts:
    """A worker whose objective is a function of ``report`` alone."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.monkeypatch = bench, monkeypatch
        self.lost: Callable[[], bool] = lambda: False

    def run(self, objective: Callable[..., float]) -> AttemptEnd:
        def run(_cfg: object, *, report: object, **_: object) -> float:
            return objective(report)

        self.monkeypatch.setattr(trial, "run", run)
        study = self.bench.study
        claimed = study.claim("w", budget=self.bench.budget, max_retries=3)
        assert claimed is not None
        context = Context(
            plan=self.bench.plan, study=study, proposer=self.bench.proposer, worker="w", host="h",
            device=None, budget=self.bench.budget, preempted=lambda: None, lost=self.lost,
        )  # fmt: skip
        return trial.execute(context, claimed)

    def refuse(self, error: Exception, times: int = 1000) -> None:
        """Let the database refuse so many reports."""
        storage = self.bench.study.storage
        store, left = storage.set_trial_intermediate_value, [error] * times

        def refuse(*args: object) -> None:
            if left:
                raise left.pop()
            store(*args)  # type: ignore[arg-type]

        self.monkeypatch.setattr(storage, "set_trial_intermediate_value", refuse)

    def states(self) -> list[TrialState]:
        return [t.state for t in self.bench.study.optuna.get_trials()]


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Attempts(Bench(tmp_path, Budget(n_trials=9)), monkeypatch)


def reports_twice(report: Callable[..., None]) -> float:
    report(1, accuracy=0.25)
    report(2, accuracy=0.5)
    return 0.5


REVOKED = "permission denied for table trial_intermediate_values"


@pytest.mark.parametrize("state", ["42501", "25006", "53100", "57P01"])
def test_a_database_that_refuses_for_a_moment_costs_nothing(attempts, state):
    attempts.refuse(postgresql(state), times=3)
    assert attempts.run(reports_twice) is AttemptEnd.FINISHED
    (only,) = attempts.bench.study.optuna.get_trials()
    assert (only.state, only.intermediate_values) == (TrialState.COMPLETE, {1: 0.25, 2: 0.5})


def wraps(report: Callable[..., None]) -> float:
    try:
        return reports_twice(report)
    except Exception as error:
        raise RuntimeError("a framework's own words") from error


def swallows(report: Callable[..., None]) -> float:
    try:
        return reports_twice(report)
    except Exception:
        return -1.0


@pytest.mark.parametrize("objective", [reports_twice, wraps, swallows])
def test_a_database_that_refuses_for_good_is_not_the_objectives_fault(attempts, objective):
    attempts.refuse(postgresql("42P01", REVOKED))
    with pytest.raises(StorageLost, match=f"the database rejected a request: {REVOKED}; hint: "):
        attempts.run(objective)
    first, second = attempts.bench.study.optuna.get_trials()
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert REVOKED in first.system_attrs[REQUEUE]["reason"]
    assert "reason" not in first.user_attrs, "no failure of its own"


def test_a_database_that_takes_no_requeue_either_is_told_of_all_the_same(attempts, monkeypatch):
    attempts.refuse(postgresql("42P01", REVOKED))

    def refuse(*_: object) -> None:
        raise postgresql("42501")

    monkeypatch.setattr(attempts.bench.study.claims, "requeue", refuse)
    with pytest.raises(StorageLost, match=REVOKED):
        attempts.run(reports_twice)
    assert attempts.states() == [TrialState.RUNNING], "until its lease runs out"


def test_a_report_that_is_stored_after_all_settles_it(attempts):
    """An objective that goes on without a report, and is done when the database is back."""
    attempts.refuse(postgresql("42P01"), times=1)

    def goes_on(report: Callable[..., None]) -> float:
        with pytest.raises(StorageLost):
            report(1, accuracy=0.25)
        report(2, accuracy=0.5)
        return 0.5

    assert attempts.run(goes_on) is AttemptEnd.FINISHED
    assert attempts.states() == [TrialState.COMPLETE]


def test_an_objectives_own_database_is_its_own_affair(attempts):
    def fails(_report: Callable[..., None]) -> float:
        raise wrapped(psycopg.OperationalError("the warehouse is closed"), psycopg.Error)

    assert attempts.run(fails) is AttemptEnd.FAILED
    assert attempts.states() == [TrialState.FAIL]


def test_a_database_that_is_lost_between_reports_ends_the_trial(attempts):
    def lost() -> bool:
        raise StorageLost("another database is in its place")

    attempts.lost = lost
    with pytest.raises(StorageLost, match="another database"):
        attempts.run(swallows)
    assert attempts.states() == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_a_standby_does_not_know_is_left(attempts):
    """It was committed just before the primary was lost."""
    study = attempts.bench.study

    def vanishes(report: Callable[..., None]) -> float:
        report(1, accuracy=0.25)
        with study.storage.engine.begin() as connection:
            for table in ("trial_intermediate_values", "trial_user_attributes",
                          "trial_system_attributes", "trial_params", "trials"):  # fmt: skip
                connection.execute(sa.text(f"DELETE FROM {table}"))
        return reports_twice(report)

    assert attempts.run(vanishes) is AttemptEnd.FENCED
    study.requeue(1, "its worker gave it up")
    assert attempts.states() == []
    assert attempts.run(reports_twice) is AttemptEnd.FINISHED
    (only,) = study.optuna.get_trials()
    assert (only.number, only.state) == (0, TrialState.COMPLETE)
    assert study.configurations() == 1
