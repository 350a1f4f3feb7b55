"""Asynchronous successive halving on fractions of each trial's own schedule, with an audit.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), with five changes:

1. Rungs are at fractions of the schedule instead of numbers of epochs.
2. The number of trials to keep is rounded up, so that one lucky trial does not eliminate all of the
   first ones.
3. Passing a rung is provisional: at every report until the trial has reached twice as many epochs
   as the rung, its value at the rung is compared again with those of all trials that have reached
   the rung since. Otherwise, the first trials would have no competitors, and with eight workers,
   four of the first eight would run to completion.
4. Another trial counts as better only if its value is better by more than the standard error of the
   difference, so that no trial is pruned because of the noise of a small validation set.
5. A decision depends only on the reported values, so that it is the same for a retry, which
   inherits its curve.
"""

import bisect
import math
from collections.abc import Sequence

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuner.algorithms.pruners import audit, score_error
from tuner.algorithms.pruners.rung_standings import Standings
from tuner.config.bounds import Count, NonNegative, Part, Share
from tuner.errors import ConfigError
from tuner.study import fidelity

TYPICAL = 0.9
"""The score for which ``tuner check`` shows a standard error."""


class Rungs(BasePruner):
    """Prune all but the best ``keep`` of the trials that have reached each of the ``rungs``.

    A trial of unknown length is assumed to be as long as the longest completed trial, and is not
    pruned before there is one. A trial with a non-finite value is pruned immediately.

    Args:
        rungs: Fractions of a trial's own schedule, ascending.
        keep: Fraction of the trials at a rung that continues.
        audited: Fraction of the rejected trials that continues; see
            ``tuner.algorithms.pruners.audit``.
        n_min_trials: Number of trials, including the one to judge, that must have reached a rung.
        noise: Standard deviation of a trial's value over seeds; None to take it at each rung from
            the repeats of the best trial, if the study has any.

    Raises:
        ConfigError: ``rungs`` is empty or does not ascend.
    """

    merges_attempts = True
    """True: this pruner accepts studies in which every attempt is a separate trial."""

    def __init__(
        self,
        *,
        rungs: list[Part],
        keep: Part,
        audited: Share,
        n_min_trials: Count = 1,
        noise: NonNegative | None = None,
    ) -> None:
        if not rungs or rungs != sorted(set(rungs)):
            told = f"expected ascending fractions, got {rungs}"
            raise ConfigError(told, key="pruner.rungs", hint="[0.1, 0.3]")
        self.rungs, self.keep, self.audited = rungs, keep, audited
        self.n_min_trials, self.noise = n_min_trials, noise
        self.standings = Standings(rungs)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to prune the trial; if it is audited instead, mark it in the study."""
        steps = sorted(trial.intermediate_values)
        if not steps:
            return False
        if not math.isfinite(trial.intermediate_values[steps[-1]]):
            return True
        epochs = self._length(study, trial)
        if audit.would_prune_at(trial) is not None or epochs is None:
            return False
        rung = self._open(epochs, steps)
        if rung is None or self._is_among_the_best(study, trial, rung, epochs):
            return False
        return not audit.begin_if_drawn(study, trial, self.audited)

    def describe_first_decision(self, epochs: int | None, examples: int | None) -> str:
        """Describe when trials are first judged, and which differences count then.

        Args:
            epochs: Epochs of a trial, None if unknown.
            examples: Number of validation examples behind a score, None if unknown.
        """
        first, others = self.rungs[0], max(1, self.n_min_trials - 1)
        at = f"after {first:.0%} of a trial"
        if epochs is not None:
            at = f"at epoch {fidelity.step_at(first, epochs)} of {epochs}"
        told = f"{at}, against at least {others} other{'s' * (others > 1)}"
        if self.noise:
            return f"{told}; differences below {math.sqrt(2) * self.noise:.2g} do not count"
        if examples is None:
            return f"{told}; the precision of the scores is unknown"
        least = math.sqrt(2) * score_error.standard_error(TYPICAL, examples)
        return (
            f"{told}; scores rest on {examples:,} examples, so differences below {least:.2g} do not"
            f" count (near a score of {TYPICAL})"
        )

    def _length(self, study: Study, trial: FrozenTrial) -> int | None:
        known = fidelity.length(trial)
        return known or self.standings.updated(study).longest or None

    def _open(self, epochs: int, steps: Sequence[int]) -> int | None:
        """Return the index of the last reached rung, or None if the trial has finally passed it.

        A trial has finally passed a rung at twice the rung's epochs, but not before its second
        report after the rung.
        """
        last, before = steps[-1], steps[-2] if len(steps) > 1 else 0
        if last >= epochs:
            return None
        at = [fidelity.step_at(fraction, epochs) for fraction in self.rungs]
        rung = bisect.bisect_right(at, last) - 1
        if rung < 0 or (before >= at[rung] and last > 2 * self.rungs[rung] * epochs):
            return None
        return rung

    def _is_among_the_best(self, study: Study, trial: FrozenTrial, rung: int, epochs: int) -> bool:
        """Return whether to keep the trial by its value at the rung."""
        value = fidelity.value_at(trial, fidelity.step_at(self.rungs[rung], epochs))
        assert value is not None
        standings = self.standings.updated(study)
        others = standings.others(rung, trial)
        count = sum(map(len, others))
        if count + 1 < self.n_min_trials:
            return True
        spread = standings.spread(rung) if self.noise is None else self.noise
        error = max(spread, score_error.standard_error(value, score_error.examples(trial)))
        margin = math.sqrt(2) * error  # of the difference of two
        if study.direction == StudyDirection.MAXIMIZE:
            ahead = count - sum(bisect.bisect_right(values, value + margin) for values in others)
        else:
            ahead = sum(bisect.bisect_left(values, value - margin) for values in others)
        return ahead < max(1.0, self.keep * (count + 1))
