"""Budgets: limits and how much of them is spent."""

import pytest

from tuner.api import search_checks
from tuner.study import limits, plan
from tuner.study.budget import Budget, Spent


def test_only_limits_that_are_set_are_shown():
    spent = Spent(n_trials=6, epochs=40, hours=0.5, device_hours=1.0)
    assert Budget().usage(spent) == []
    shown = [str(share) for share in Budget(n_trials=24, hours=2.0).usage(spent)]
    assert shown == ["study.n_trials: 6 of 24", "budget.hours: 0.5 of 2"]


@pytest.mark.parametrize(
    ("budget", "hours", "device_hours", "reason"),
    [
        (Budget(n_trials=1), 99.0, 99.0, None),
        (Budget(hours=2.0), 1.99, 99.0, None),
        (Budget(hours=2.0), 2.0, 0.0, "budget.hours: 2 of 2"),
        (Budget(hours=9.0, device_hours=4.0), 2.0, 4.5, "budget.device_hours: 4.5 of 4"),
    ],
)
def test_time_is_over_at_the_first_limit_reached(budget, hours, device_hours, reason):
    assert budget.time_over(hours, device_hours) == reason


def test_epochs_that_running_trials_may_need_are_not_given_away():
    budget = Budget(epochs=30, length=10)
    assert budget.fits(10, [10], 10)
    assert not budget.fits(11, [10], 10)
    assert budget.fits(11, [9], 10), "a running one was pruned"
    assert Budget().fits(10**9, [10], 10)
    assert [Budget(length=10).left(step) for step in (0, 4, 10, 12)] == [10, 6, 0, 0]
    assert Budget().left(7) == 1


def budget(source, *overrides: str) -> Budget:
    return limits.budget(plan.load(source, overrides).require())


def test_a_budget_of_a_plan(source):
    found = budget(source, "study.n_trials=null", "budget.hours=1", "trainer.epochs=7")
    assert (found.n_trials, found.hours, found.length) == (None, 1, 7)
    assert budget(source, "trainer.epochs=int(interval(5,20))").length == 20


def test_a_grid_ends_when_it_is_done(source):
    grid = ["sampler=grid", "space=none", "model.depth=range(1,5)"]
    assert budget(source, *grid).n_trials == 4
    assert budget(source, *grid, "study.n_trials=3").n_trials == 3
    assert budget(source, *grid, "study.n_trials=null", "budget.hours=1").n_trials == 4


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["study.n_trials=null"],
            "the search would never end; hint: set a number, or for example budget.hours",
        ),
        (
            ["budget.epochs=14"],
            "expected at least 15, the epochs of one training, got 14; hint: at least 15",
        ),
        (["budget.hours=0"], "budget.hours: expected float above 0"),
        (["budget.stop_when=bored"], "budget.stop_when: expected 'never' | 'gain_below_noise'"),
        (["budget.hour=1"], "budget.hour: unknown key; hint: did you mean 'budget.hours'"),
        (["budget.hours=interval(1,2)"], "budget.hours: cannot be searched"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(source, overrides, expected):
    found = plan.load(source, ["space=none", "loss.l2=interval(0,1)", *overrides])
    mistakes = [*found.mistakes, *search_checks.mistakes(found)]
    assert any(expected in str(mistake) for mistake in mistakes), mistakes
