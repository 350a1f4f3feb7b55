"""A trial's own schedule: its number of epochs, and the epochs of rungs.

A trial of thirty epochs after its tenth and one of ninety after its thirtieth are equally far.
Comparing trials at fractions of their schedules is fair for different lengths, and to learning-rate
schedules, which are functions of the fraction too.
"""

import bisect
import functools
import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

LENGTH = "tuner:length"
"""System attribute of a trial: the number of epochs of its whole schedule, if known."""


def length(trial: FrozenTrial) -> int | None:
    """Return the epochs of the trial's whole schedule, None if unknown."""
    found = trial.system_attrs.get(LENGTH)
    return None if found is None else int(found)


@functools.lru_cache(4096)
def step_at(fraction: float, epochs: int) -> int:
    """Return the step, from 1, at which a schedule of ``epochs`` has reached ``fraction``."""
    return max(1, math.ceil(fraction * epochs - 1e-9))


def value_at(trial: FrozenTrial, step: int) -> float | None:
    """Return the first value reported at ``step`` or later, None if there is none.

    A completed trial that needed fewer steps counts with its last value.
    """
    return values_at(trial, [step])[0]


def values_at(trial: FrozenTrial, steps: Sequence[int]) -> list[float | None]:
    """Return ``value_at`` for several steps."""
    curve = trial.intermediate_values
    reported = sorted(curve)
    found: list[float | None] = []
    for step in steps:
        at = bisect.bisect_left(reported, step)
        if reported and at == len(reported) and trial.state == TrialState.COMPLETE:
            at -= 1
        found.append(curve[reported[at]] if at < len(reported) else None)
    return found


def costs(trial: FrozenTrial) -> tuple[float, float]:
    """Return the epochs of a trial's whole schedule and the seconds that they take, NaN if unknown.

    The seconds of an epoch are known once the trial has ended: they are the mean over those that it
    has reported, without those of the attempts before it. Without a known length, they stand for
    the schedule.
    """
    epochs = float(length(trial) or math.nan)
    began, ended = trial.datetime_start, trial.datetime_complete
    reported = trial.user_attrs.get("epochs", len(trial.intermediate_values))
    if began is None or ended is None or not isinstance(reported, int) or reported < 1:
        return epochs, math.nan
    seconds = (ended - began).total_seconds() / reported
    whole = seconds if math.isnan(epochs) else seconds * epochs
    return epochs, whole if whole > 0 else math.nan
