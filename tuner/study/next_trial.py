"""Decide what a worker may start next under the study's budget.

The result is a waiting trial, a new one, or none. This module contains no SQL: it reads the study
through ``Books``, under the study's lock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.study import seed_noise
from tuner.study.attempts import FIXED
from tuner.study.budget import Budget, Times
from tuner.study.queue import Item
from tuner.study.seed_noise import REPEAT

QUEUED = "tuner:queued"
"""System attribute of an enqueued trial: the key of its item in the queue."""


class Books(Protocol):
    """The records of a study that ``next_trial`` needs."""

    @property
    def maximize(self) -> bool: ...
    def times(self) -> Times: ...
    def configurations(self) -> int: ...
    def oldest_waiting(self) -> int | None: ...
    def attempts(self) -> list[FrozenTrial]:
        """Return the last attempt of each configuration."""
        ...

    def is_queued(self, key: str) -> bool:
        """Return whether there is a trial for the queue's item with this key."""
        ...


Queue = Callable[[Books], Sequence[Item]]
"""Returns the items to try before new configurations; those with a trial already are skipped."""


def listed(items: Sequence[Item] = ()) -> Queue:
    """Return a queue that always has the same items."""
    return lambda _books: items


EMPTY = listed()


@dataclass(frozen=True)
class Ledger:
    """The reported epochs, and the epochs that each running trial may still need."""

    reported: int
    running: list[int]
    waiting: dict[int, int]
    """Waiting trials by id."""


def next_trial(books: Books, budget: Budget, queue: Queue = EMPTY) -> int | FrozenTrial | str:
    """Return the id of a waiting trial, a trial to create, or the reason why there is neither."""
    times = books.times() if budget.timed else Times()
    if over := budget.time_over(times.hours, times.device_hours):
        return over
    ledger = _ledger(books.attempts(), budget) if budget.epochs is not None else None
    waiting = books.oldest_waiting()
    if waiting is not None:
        needs = ledger.waiting.get(waiting, 0) if ledger else 0
        if ledger and not budget.fits(ledger.reported, ledger.running, needs):
            return _too_few(budget, ledger, needs)
        return waiting
    given = books.configurations() if budget.n_trials is not None else 0
    if budget.n_trials is not None and given >= budget.n_trials:
        return f"study.n_trials: {given} of {budget.n_trials}"
    if ledger and not budget.fits(ledger.reported, ledger.running, budget.left(0)):
        return _too_few(budget, ledger, budget.left(0))
    for item in queue(books):
        if not books.is_queued(item.key):
            attrs = {FIXED: dict(item.params), QUEUED: item.key, **item.attrs}
            origin = {"origin": item.origin}
            return create_trial(state=TrialState.WAITING, system_attrs=attrs, user_attrs=origin)
    if budget.closed:
        return "all queued trials have been started"
    if budget.stop_when == "gain_below_noise":
        return _worthwhile(books, budget)
    return create_trial(state=TrialState.WAITING)


def epochs(attempts: list[FrozenTrial]) -> int:
    """Return the epochs reported so far; a retry's curve includes those of earlier attempts."""
    return sum(len(trial.intermediate_values) for trial in attempts)


def may_go_on(attempts: list[FrozenTrial], budget: Budget) -> bool:
    """Return whether a running trial of unknown length may begin another epoch.

    All other running trials are assumed to be within an epoch. If two trials request the last epoch
    at the same time, neither gets it, so that the budget is never exceeded.
    """
    ledger = _ledger(attempts, budget)
    return budget.fits(ledger.reported, ledger.running, 0)


def _ledger(attempts: list[FrozenTrial], budget: Budget) -> Ledger:
    left = {
        state: {t._trial_id: budget.left(t.last_step or 0) for t in attempts if t.state == state}
        for state in (TrialState.RUNNING, TrialState.WAITING)
    }
    running = list(left[TrialState.RUNNING].values())
    return Ledger(epochs(attempts), running, left[TrialState.WAITING])


def _too_few(budget: Budget, ledger: Ledger, needs: int) -> str:
    left = max(0, (budget.epochs or 0) - ledger.reported - sum(ledger.running))
    held = f", and {sum(ledger.running)} are reserved for running trials" * bool(ledger.running)
    return (
        f"budget.epochs: {ledger.reported} of {budget.epochs}; the remaining {left} are too few "
        f"for another configuration of {needs}{held}"
    )


def _worthwhile(books: Books, budget: Budget) -> FrozenTrial | str:
    """Return a new trial, one that measures the noise, or why neither is worthwhile."""
    new = create_trial(state=TrialState.WAITING)
    attempts = books.attempts()
    sign = -1.0 if books.maximize else 1.0
    tried = [t for t in attempts if REPEAT not in t.system_attrs]
    done = [t for t in tried if t.state == TrialState.COMPLETE and t.values]
    pruned = sum(t.state == TrialState.PRUNED for t in tried)
    if len(done) + pruned < seed_noise.LEAST or not done:
        return new
    deviation = budget.noise
    if deviation is None:
        repeats = [t for t in attempts if REPEAT in t.system_attrs]
        if len(repeats) < budget.repeats:
            # A repeat that waits has no parameters yet, but those that it was given.
            again = repeats[0] if repeats else min(done, key=lambda t: sign * t.values[0])
            params = again.system_attrs.get(FIXED, again.params)
            attrs = {FIXED: params, REPEAT: again.system_attrs.get(REPEAT, again.number)}
            return create_trial(state=TrialState.WAITING, system_attrs=attrs)
        if not all(t.state.is_finished() for t in repeats):
            return new
        deviation = seed_noise.deviation(
            [t.values[0] for t in repeats if t.state == TrialState.COMPLETE and t.values]
        )
    gain = seed_noise.gain([sign * t.values[0] for t in done], pruned)
    if deviation is None or gain >= deviation:
        return new
    return (
        f"budget.stop_when: doubling the number of configurations would gain {gain:.2g}, "
        f"less than the seed-to-seed noise, {deviation:.2g}"
    )
