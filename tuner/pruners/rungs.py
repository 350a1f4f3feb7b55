"""Asynchronous successive halving on fractions of each trial's own schedule, with an audit.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), with three
changes.  Rungs lie at fractions of the schedule and not at numbers of epochs.  The share that is
kept is rounded up, so that the first trials are not all lost to one lucky one.  And a decision
needs nothing but the reported values, so that a retry, which inherits its curve, is spared nothing
and loses nothing.
"""

import math
import threading
from collections.abc import Sequence

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner import schedule
from tuner.bounds import Part, Share
from tuner.pruners import audit


class Rungs(BasePruner):
    """At each of the ``rungs`` only the best ``keep`` of all that have been there go on.

    ``rungs`` are fractions of a trial's own schedule.  A trial of unknown length is judged by that
    of the longest completed one, and not before there is one.  A value that is not finite ends a
    trial at once.  Of the condemned a share, ``audited``, lives on; see ``tuner.pruners.audit``.

    Raises: ValueError for rungs that are none or do not ascend.
    """

    def __init__(self, *, rungs: list[Part], keep: Part, audited: Share) -> None:
        if not rungs or rungs != sorted(set(rungs)):
            raise ValueError(f"rungs must be ascending fractions, got {rungs}; hint: [0.1, 0.3]")
        self.rungs, self.keep, self.audited = rungs, keep, audited
        self.standings = Standings(rungs)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to end here; an audited one is marked in the study."""
        steps = sorted(trial.intermediate_values)
        if not steps:
            return False
        value = trial.intermediate_values[steps[-1]]
        if not math.isfinite(value):
            return True
        if audit.condemned_at(trial) is not None:
            return False
        rung = self._passed(self._length(study, trial), steps)
        if rung is None or self._is_among_the_best(study, trial, rung, value):
            return False
        return not audit.spare(study, trial, self.audited)

    def _length(self, study: Study, trial: FrozenTrial) -> int | None:
        known = schedule.length(trial)
        return known or self.standings.look(study).longest or None

    def _passed(self, epochs: int | None, steps: Sequence[int]) -> int | None:
        """The rung that the last report came to, the later one where a short schedule has two."""
        if epochs is None or steps[-1] >= epochs:
            return None
        before = steps[-2] if len(steps) > 1 else 0
        at = [schedule.step_at(fraction, epochs) for fraction in self.rungs]
        return max((k for k, step in enumerate(at) if before < step <= steps[-1]), default=None)

    def _is_among_the_best(self, study: Study, trial: FrozenTrial, rung: int, value: float) -> bool:
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        others = self.standings.look(study).others(rung, trial.number)
        ahead = sum(sign * other < sign * value for other in others)
        return ahead < max(1.0, self.keep * (len(others) + 1))


class Standings:
    """The values at the rungs of all trials of a study: one that is over is read once."""

    def __init__(self, rungs: Sequence[float]) -> None:
        self.rungs = rungs
        self.longest = 0
        """Steps of the longest completed trial."""
        self._name: str | None = None
        self._over: dict[int, tuple[float | None, ...]] = {}
        self._going: dict[int, tuple[float | None, ...]] = {}
        self._lock = threading.Lock()

    def look(self, study: Study) -> "Standings":
        """The standings as they are now."""
        trials = study.get_trials(deepcopy=False)
        with self._lock:
            if study.study_name != self._name:
                self._name, self.longest, self._over = study.study_name, 0, {}
            self._read(trials)
        return self

    def others(self, rung: int, number: int) -> list[float]:
        """What all trials but this one had reached at a rung."""
        with self._lock:
            found = [
                v[rung]
                for known in (self._over, self._going)
                for n, v in known.items()
                if n != number
            ]
        return [value for value in found if value is not None]

    def _read(self, trials: Sequence[FrozenTrial]) -> None:
        news = [trial for trial in trials if trial.number not in self._over]
        done = [trial.last_step or 0 for trial in news if trial.state == TrialState.COMPLETE]
        if (longest := max(done, default=0)) > self.longest:
            self.longest = longest
            news += [t for t in trials if t.number in self._over and schedule.length(t) is None]
        self._going = {t.number: self._values(t) for t in news}
        self._over.update(
            {t.number: self._going.pop(t.number) for t in news if t.state.is_finished()}
        )

    def _values(self, trial: FrozenTrial) -> tuple[float | None, ...]:
        """Beyond the rung where it was condemned an audited trial is no measure for others."""
        epochs = schedule.length(trial) or self.longest
        if not epochs or not trial.intermediate_values:
            return (None,) * len(self.rungs)
        end = audit.condemned_at(trial)
        steps = (schedule.step_at(fraction, epochs) for fraction in self.rungs)
        values = (
            None if end is not None and s > end else schedule.value_at(trial, s) for s in steps
        )
        return tuple(v if v is not None and math.isfinite(v) else None for v in values)
