"""Asynchronous successive halving on fractions of each trial's own schedule, with an audit.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), with four
changes.  Rungs lie at fractions of the schedule and not at numbers of epochs.  The share that is
kept is rounded up, so that the first trials are not all lost to one lucky one.  To pass a rung is
provisional until the trial has come twice as far: with every report until then it is judged again,
by what it had at the rung, against all that have come there since.  Those that come to a rung first
find nobody to be compared with, and with eight workers four of the first eight would run to their
end.  And a decision needs nothing but the reported values, so that a retry, which inherits its
curve, is spared nothing and loses nothing.
"""

import bisect
import math
from collections.abc import Sequence

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuner import schedule
from tuner.bounds import Part, Share
from tuner.pruners import audit
from tuner.pruners.standings import Standings


class Rungs(BasePruner):
    """From each of the ``rungs`` only the best ``keep`` of all that have been there go on.

    ``rungs`` are fractions of a trial's own schedule.  A trial of unknown length is judged by that
    of the longest completed one, and not before there is one.  A value that is not finite ends a
    trial at once.  Of the condemned a share, ``audited``, lives on; see ``tuner.pruners.audit``.

    Raises: ValueError for rungs that are none or do not ascend.
    """

    merges_attempts = True
    """It may be shown the study as it is, every attempt a trial of its own."""

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
        if not math.isfinite(trial.intermediate_values[steps[-1]]):
            return True
        epochs = self._length(study, trial)
        if audit.condemned_at(trial) is not None or epochs is None:
            return False
        rung = self._open(epochs, steps)
        if rung is None or self._is_among_the_best(study, trial, rung, epochs):
            return False
        return not audit.spare(study, trial, self.audited)

    def _length(self, study: Study, trial: FrozenTrial) -> int | None:
        known = schedule.length(trial)
        return known or self.standings.look(study).longest or None

    def _open(self, epochs: int, steps: Sequence[int]) -> int | None:
        """The last rung that the trial has come to, unless it has passed it for good.

        That is at twice the rung's share, but not before the second report after the rung.
        """
        last, before = steps[-1], steps[-2] if len(steps) > 1 else 0
        if last >= epochs:
            return None
        at = [schedule.step_at(fraction, epochs) for fraction in self.rungs]
        rung = bisect.bisect_right(at, last) - 1
        if rung < 0 or (before >= at[rung] and last > 2 * self.rungs[rung] * epochs):
            return None
        return rung

    def _is_among_the_best(self, study: Study, trial: FrozenTrial, rung: int, epochs: int) -> bool:
        """By its value at the rung; ties are not ahead."""
        value = schedule.value_at(trial, schedule.step_at(self.rungs[rung], epochs))
        assert value is not None
        others = self.standings.look(study).others(rung, trial)
        count = sum(map(len, others))
        if study.direction == StudyDirection.MAXIMIZE:
            ahead = count - sum(bisect.bisect_right(ascending, value) for ascending in others)
        else:
            ahead = sum(bisect.bisect_left(ascending, value) for ascending in others)
        return ahead < max(1.0, self.keep * (count + 1))
