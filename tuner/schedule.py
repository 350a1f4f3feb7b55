"""A trial's own schedule: how many epochs it is to run, and where on it a rung lies.

Thirty epochs after their tenth and ninety after their thirtieth have come equally far: what is
compared at a fraction of the schedule is fair to trials of different length, and to learning-rate
schedules, which follow the fraction too.
"""

import bisect
import functools
import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

LENGTH = "tuner:length"
"""System attribute of a trial: the epochs of its whole schedule, where they are known."""


def length(trial: FrozenTrial) -> int | None:
    """Epochs of the trial's whole schedule, None where nobody has noted them."""
    found = trial.system_attrs.get(LENGTH)
    return None if found is None else int(found)


@functools.lru_cache(4096)
def step_at(fraction: float, epochs: int) -> int:
    """The step, from 1, by which a schedule of ``epochs`` has come to ``fraction``."""
    return max(1, math.ceil(fraction * epochs - 1e-9))


def value_at(trial: FrozenTrial, step: int) -> float | None:
    """The first value reported at ``step`` or after it, None where the trial has not come so far.

    One that is complete and needed fewer steps counts with its last value.
    """
    return values_at(trial, [step])[0]


def values_at(trial: FrozenTrial, steps: Sequence[int]) -> list[float | None]:
    """The same for several steps."""
    curve = trial.intermediate_values
    reported = sorted(curve)
    found: list[float | None] = []
    for step in steps:
        at = bisect.bisect_left(reported, step)
        if reported and at == len(reported) and trial.state == TrialState.COMPLETE:
            at -= 1
        found.append(curve[reported[at]] if at < len(reported) else None)
    return found
