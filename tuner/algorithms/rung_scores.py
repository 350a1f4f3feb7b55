"""Cache a study as arrays of the value of each trial at each rung.

A rung is a fraction of a trial's own schedule, so that trials of different lengths are compared
fairly: a trial of 30 epochs after epoch 10, one of 90 epochs after epoch 30. Everything is computed
from the reported values, so that a retry, which inherits its curve, gives the same result.
"""

import dataclasses
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.reason_kind import Kind
from tuner.study import fidelity
from tuner.study.attempts import HISTORY, kind

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Encode = Callable[[Sequence[FrozenTrial]], Floats]
"""Encodes trials' parameters as rows of numbers of equal length."""

T = TypeVar("T")

FRACTIONS = (1 / 27, 1 / 9, 1 / 3, 1.0)
"""The rungs; the last one is the end, which only completed trials have reached."""


@dataclass(frozen=True)
class Table:
    """The state of a study; row ``i`` is trial number ``i``, and larger scores are better."""

    points: Floats
    """Encoded parameters, shape (trials, columns)."""
    scores: Floats
    """Values at the rungs, shape (trials, rungs); NaN if not reached."""
    over: Bools
    """Which trials have ended."""
    bad: Bools
    """Which trials failed, diverged or violated a constraint, regardless of their scores."""
    live: Bools
    """Which trials count: they have parameters, and no retry replaces them."""
    costs: Floats
    """Epochs of the trials' whole schedules and the seconds that they take, shape (trials, 2); NaN
    if unknown.
    """

    def reached(self, rung: int) -> Bools:
        """Return which trials count and have reached the rung, including running ones."""
        return self.live & ~self.bad & ~np.isnan(self.scores[:, rung])

    def first(self, count: int) -> "Table":
        """Return the first ``count`` trials."""
        fields = dataclasses.fields(self)
        return Table(**{field.name: getattr(self, field.name)[:count] for field in fields})

    def places(self) -> Floats:
        """Return the share of all trials that each one beats; NaN if nothing is known of it.

        At the highest rung that it has reached, a trial is compared with all that have reached it;
        those that ended below are beaten. Equal ones beat half of each other. Bad trials, and those
        that ended without a score, beat none.
        """
        scored = self.live & ~self.bad & ~np.isnan(self.scores).all(1)
        known = scored | (self.live & (self.bad | self.over))
        found = np.where(known, 0.0, np.nan)
        for rung in range(self.scores.shape[1]):
            there = np.flatnonzero(self.reached(rung))
            scores = self.scores[there, rung]
            ascending = np.sort(scores)
            sides = [np.searchsorted(ascending, scores, side) for side in ("left", "right")]
            ahead = len(there) - (sides[0] + sides[1]) / 2
            found[there] = 1 - ahead / np.count_nonzero(known)
        return found

    def highest(self, least: int) -> int | None:
        """Return the highest rung that at least ``least`` trials have reached."""
        for rung in reversed(range(self.scores.shape[1])):
            if np.count_nonzero(self.reached(rung)) >= least:
                return rung
        return None


class LastRead:
    """Remembers which study was read last, and its latest trial."""

    def __init__(self) -> None:
        self._study: tuple[object, int] | None = None
        self._count = 0
        self._last = -1

    def continues(self, study: Study, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether these are the trials of the same study, possibly with more; record them.

        Studies in several databases may have the same name. A study that was deleted and created
        again, or lost its last trials in a failover, has other trials with the same numbers.
        """
        before, count, last = self._study, self._count, self._last
        self._study = study._storage, study._study_id
        self._count, self._last = len(trials), trials[-1]._trial_id if trials else -1
        same = before is not None and before[0] is self._study[0] and before[1] == self._study[1]
        return same and count <= len(trials) and (not count or trials[count - 1]._trial_id == last)


class Scoreboard:
    """Keeps a ``Table`` up to date: finished trials are read once, the others each time."""

    def __init__(self, fractions: Sequence[float] = FRACTIONS) -> None:
        self.fractions = tuple(fractions)
        self._lock = threading.Lock()
        self._read_of = LastRead()
        self._derived: dict[str, tuple[Hashable, Any]] = {}
        self._start(lambda trials: np.empty((len(trials), 0)))

    def __reduce__(self) -> tuple[type["Scoreboard"], tuple[tuple[float, ...]]]:
        """Pickle without the cache; the copy reads the study again."""
        return Scoreboard, (self.fractions,)

    def table(self, study: Study, encode: Encode) -> Table:
        """Return the current table; thread-safe."""
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        with self._lock:
            trials = study.get_trials(deepcopy=False)
            if not self._read_of.continues(study, trials) or encode != self._encode:
                self._start(encode)
            longest, guessed = self._longest, self._guessed
            self._read(trials, sign)
            if self._longest != longest and guessed:  # assumed lengths have changed
                self._start(encode, self._longest)
                self._read(trials, sign)
            return Table(*(column[: self._count].copy() for column in self._columns))

    def derived(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of ``make``, cached as ``name`` until it is requested with another key.

        The cache is cleared when another study, or other parameters, are read; thread-safe.
        """
        with self._lock:
            if name not in self._derived or self._derived[name][0] != key:
                self._derived[name] = key, make()
            found: T = self._derived[name][1]
            return found

    def _start(self, encode: Encode, longest: int = 0) -> None:
        self._encode = encode
        self._derived.clear()
        self._count = 0
        self._open: list[int] = []
        self._longest = longest
        """Epochs of the longest completed trial, for trials of unknown length."""
        self._guessed = False
        self._columns: tuple[npt.NDArray[Any], ...] = ()

    def _read(self, trials: Sequence[FrozenTrial], sign: float) -> None:
        todo = [*self._open, *range(self._count, len(trials))]
        for trial in (trials[i] for i in todo if trials[i].state == TrialState.COMPLETE):
            self._longest = max(self._longest, max(trial.intermediate_values, default=0))
        self._open = [i for i in todo if not trials[i].state.is_finished()]
        self._count = len(trials)
        fresh = [trials[i] for i in todo]
        encoded = self._encode(fresh)
        self._grow(encoded.shape[1])
        points, scores, over, bad, live, costs = self._columns
        points[todo] = encoded
        scores[todo] = sign * self._scores(fresh)
        over[todo] = [trial.state.is_finished() for trial in fresh]
        bad[todo] = [is_bad(trial) for trial in fresh]
        live[todo] = [bool(trial.params) for trial in fresh]
        costs[todo] = np.reshape([fidelity.costs(trial) for trial in fresh], (-1, 2))
        before = [n for trial in fresh for n in trial.system_attrs.get(HISTORY, [])]
        live[[n for n in before if n < self._count]] = False

    def _grow(self, width: int) -> None:
        """Enlarge the arrays to at least twice their size."""
        if self._columns and self._count <= len(self._columns[0]):
            return
        size = 2 * self._count + 64
        new = (
            np.full((size, width), np.nan),
            np.full((size, len(self.fractions)), np.nan),
            *(np.zeros(size, bool) for _ in range(3)),
            np.full((size, 2), np.nan),
        )
        for fresh, old in zip(new, self._columns, strict=False):
            fresh[: len(old)] = old
        self._columns = new

    def _scores(self, trials: Sequence[FrozenTrial]) -> Floats:
        """Return the values at the rungs, NaN if there is no finite one."""
        found = np.array([self._at_rungs(trial) for trial in trials], float)
        found = found.reshape(len(trials), len(self.fractions))
        return np.where(np.isfinite(found), found, np.nan)

    def _at_rungs(self, trial: FrozenTrial) -> list[float | None]:
        epochs = fidelity.length(trial)
        self._guessed |= bool(trial.intermediate_values) and epochs is None
        found: list[float | None] = [None] * len(self.fractions)
        if epochs := epochs or self._longest:
            steps = [fidelity.step_at(fraction, epochs) for fraction in self.fractions[:-1]]
            found = [*fidelity.values_at(trial, steps), None]
        if trial.state == TrialState.COMPLETE and trial.values:
            found[-1] = trial.values[0]
        return found


def is_bad(trial: FrozenTrial) -> bool:
    """Return whether the trial failed, violated a constraint or was otherwise infeasible."""
    if any(c > 0 for c in trial.constraints.values()):
        return True
    if trial.state == TrialState.PRUNED:
        return kind(trial) != Kind.PRUNED or not trial.intermediate_values
    return trial.state == TrialState.FAIL
