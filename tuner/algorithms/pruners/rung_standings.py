"""Cache the values that all configurations of a study have reached at each rung."""

import bisect
import math
import threading
from collections.abc import Sequence

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.algorithms.pruners import audit
from tuner.algorithms.rung_scores import LastRead
from tuner.study import fidelity
from tuner.study.attempts import first_number
from tuner.study.seed_noise import REPEAT, deviation

Values = tuple[float | None, ...]
"""A trial's value at each rung, None for rungs that it has not reached."""


class Standings:
    """The values of all configurations at the rungs, each taken from its last attempt.

    A finished trial is read only once. Trials that repeat the best one to measure the noise are not
    competitors; the spread of their values is known. The methods are thread-safe.
    """

    def __init__(self, rungs: Sequence[float]) -> None:
        self.rungs = rungs
        self._lock = threading.Lock()
        self._read_of = LastRead()
        self._begin()

    def __reduce__(self) -> tuple[type["Standings"], tuple[Sequence[float]]]:
        """Pickle only the rungs; the copy reads the study again."""
        return Standings, (self.rungs,)

    def _begin(self) -> None:
        self.longest = 0
        """Number of steps of the longest completed trial, used for trials of unknown length."""
        self._count = 0
        self._open: list[int] = []
        self._over: dict[int, Values] = {}
        self._ended: list[list[float]] = [[] for _ in self.rungs]
        """For each rung, the values of the configurations in ``_over``, ascending."""
        self._going: dict[int, tuple[FrozenTrial, Values]] = {}
        self._repeats: dict[int, Values] = {}

    def updated(self, study: Study) -> "Standings":
        """Read new trials of the study and return these standings."""
        with self._lock:
            trials = study.get_trials(deepcopy=False)
            if not self._read_of.continues(study, trials):
                self._begin()
            longest = self._read(trials)
            if longest > self.longest:
                self._begin()
                self.longest = longest
                self._read(trials)
        return self

    def others(self, rung: int, trial: FrozenTrial) -> tuple[list[float], list[float]]:
        """Return the values of all other configurations at a rung: of finished and of running ones.

        Both lists are ascending and exclude all attempts at the configuration of ``trial``.
        """
        own = first_number(trial)
        with self._lock:
            going = [values[rung] for n, (_, values) in self._going.items() if n != own]
            return self._ended[rung].copy(), sorted(v for v in going if v is not None)

    def spread(self, rung: int) -> float:
        """Return the standard deviation at a rung of the runs that repeat the best trial.

        It is 0 with fewer than two of them.
        """
        with self._lock:
            values = [v for values in self._repeats.values() if (v := values[rung]) is not None]
        return deviation(values) or 0.0

    def _read(self, trials: Sequence[FrozenTrial]) -> int:
        """Read new and unfinished trials; return the steps of the longest completed trial."""
        todo = [*self._open, *range(self._count, len(trials))]
        self._count, self._open = len(trials), []
        longest = self.longest
        for i in todo:
            trial = trials[i]
            if not trial.state.is_finished():
                self._open.append(i)
            elif trial.state == TrialState.COMPLETE and fidelity.length(trial) is None:
                longest = max(longest, trial.last_step or 0)
            if REPEAT in trial.system_attrs:
                self._repeats[first_number(trial)] = self._values(trial)
            else:
                self._take(trial)
        return longest

    def _take(self, trial: FrozenTrial) -> None:
        number = first_number(trial)
        known, values = self._going.get(number, (None, ()))
        if known is trial:
            return  # a storage creates a new object for a changed trial
        self._drop(number)
        values = self._values(trial)
        if not trial.state.is_finished():
            self._going[number] = trial, values
            return
        self._over[number] = values
        for ended, value in zip(self._ended, values, strict=True):
            if value is not None:
                bisect.insort(ended, value)

    def _drop(self, number: int) -> None:
        """Remove the values of a configuration; an attempt has newer ones."""
        self._going.pop(number, None)
        for ended, value in zip(self._ended, self._over.pop(number, ()), strict=False):
            if value is not None:
                del ended[bisect.bisect_left(ended, value)]

    def _values(self, trial: FrozenTrial) -> Values:
        """Return a trial's values at the rungs, up to the step at which it was rejected."""
        epochs = fidelity.length(trial) or self.longest
        if not epochs or not trial.intermediate_values:
            return (None,) * len(self.rungs)
        end = audit.would_prune_at(trial) or math.inf
        steps = [fidelity.step_at(fraction, epochs) for fraction in self.rungs]
        return tuple(
            value if value is not None and step <= end and math.isfinite(value) else None
            for step, value in zip(steps, fidelity.values_at(trial, steps), strict=True)
        )
