"""Compute parameter importances and their spread over bootstrap resamples."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.report.analysis import ped_anova
from tuner.report.configurations import Row
from tuner.report.formatting import finite, word
from tuner.report.summary import Summary

RESAMPLED = 20
ENOUGH = 10  # completed configurations; with fewer, PED-ANOVA's top tenth is empty


@dataclass(frozen=True)
class Importance:
    """A parameter's importance, and the middle 80 % of its values over resamples."""

    name: str
    share: float
    low: float
    high: float

    @property
    def range(self) -> str:
        return f"{self.low:.0%} to {self.high:.0%}"


def importances(study: Study, summary: Summary) -> list[Importance] | str:
    """Return importances for reaching the top tenth (PED-ANOVA), descending.

    Returns a note instead if too few trials are complete or no parameter varies.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    scored = [(summary.loss(trial.values[0]), trial) for trial in completed if trial.values]
    done = [(loss, trial) for loss, trial in scored if finite(loss)]
    if len(done) < ENOUGH:
        return f"Importances need {ENOUGH} completed configurations; there are {len(done)}."
    if len({loss for loss, _ in done}) == 1:
        return "Importances need completed configurations with different values."
    rows = [row for row in summary.ranking if finite(row.value)]
    varied = [name for name in summary.space if len(taken(rows, name)) > 1]
    if not varied:
        return "No parameter took more than one value."
    shares, spread = _resampled(done, varied)
    return [
        Importance(name, share, *_middle(spread[name], share)) for name, share in shares.items()
    ]


def _resampled(
    done: Sequence[tuple[float, FrozenTrial]], names: Sequence[str]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return each parameter's importance, and those over bootstrap resamples of the trials.

    Their spread shows how much an importance depends on which configurations were tried.

    Args:
        done: The losses, all finite, and the trials.
        names: The parameters.
    """
    losses, numbers = np.array([loss for loss, _ in done]), range(len(done))
    known = ped_anova.ranges([trial for _, trial in done], names)
    rng = random.Random(0)
    spread: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(RESAMPLED):
        drawn = np.array(rng.choices(numbers, k=len(done)))
        for name, share in ped_anova.shares(known, names, losses, drawn).items():
            spread[name].append(share)
    return ped_anova.shares(known, names, losses, np.array(numbers)), spread


def _middle(shares: Sequence[float], own: float) -> tuple[float, float]:
    """Return the middle 80 %, extended to the value itself."""
    known = sorted(shares)
    cut = len(known) // 10
    return min(own, known[cut]), max(own, known[-1 - cut])


def taken(rows: Sequence[Row], name: str) -> set[str]:
    """Return the values that a parameter took, as words."""
    return {word(row.params[name]) for row in rows if name in row.params}
