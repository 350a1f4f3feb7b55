"""Compute how important each parameter is for reaching the best trials, and how sure that is."""

import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.report.configurations import Row
from tuner.report.formatting import finite, word
from tuner.report.summary import Summary

RESAMPLED = 20
LARGEST_SAMPLE = 1000  # trials of a resample
PATIENCE = 3.0  # seconds for all resamples, because each command ends with a report
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
    """Return importances for reaching the top tenth (PED-ANOVA, Optuna's default), descending.

    Returns a note instead if too few trials are complete or no parameter varies.
    """
    done = [row for row in summary.ranking if finite(row.value)]
    if len(done) < ENOUGH:
        return f"Importances need {ENOUGH} completed configurations; there are {len(done)}."
    if len({row.value for row in done}) == 1:
        return "All completed configurations have the same value: nothing to explain."
    varied = [name for name in summary.space if len(taken(done, name)) > 1]
    if not varied:
        return "No parameter took more than one value."
    try:
        shares = _shares(study, summary, varied)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        return f"Importances cannot be computed for this study: {error}"
    spread = _spread(study, summary, varied)
    return [
        Importance(name, share, *_middle(spread.get(name, ()), share))
        for name, share in shares.items()
        if finite(share)
    ]


def _spread(study: Study, summary: Summary, names: Sequence[str]) -> dict[str, list[float]]:
    """Return each parameter's importances over bootstrap resamples of the completed trials.

    Their spread shows how much an importance depends on which configurations were tried.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    rng = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in names}
    until = time.monotonic() + PATIENCE
    for _ in range(RESAMPLED):
        sample = _Sample(study, rng.choices(done, k=min(len(done), LARGEST_SAMPLE)))
        try:
            shares = _shares(sample, summary, names)
        except (ValueError, RuntimeError, ArithmeticError):
            continue  # a resample with a single value of a parameter
        for name, share in shares.items():
            found[name].append(share)
        if time.monotonic() > until:
            break
    return found


class _Sample(Study):
    """A study that consists of the given trials."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        super().__init__(study.study_name, study._storage)
        self.sample = list(trials)

    def get_trials(self, deepcopy: bool = True, states: object = None) -> list[FrozenTrial]:
        return self.sample


def _shares(study: Study, summary: Summary, names: Sequence[str]) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice is for callers who choose an evaluator
        return optuna.importance.get_param_importances(
            study, params=list(names), target=lambda trial: summary.loss(trial.values[0])
        )


def _middle(shares: Sequence[float], own: float) -> tuple[float, float]:
    """Return the middle 80 %, extended to the value itself; None for fewer than 5 resamples."""
    known = sorted(share for share in shares if finite(share))
    if len(known) < 5:
        return own, own
    cut = len(known) // 10
    return min(own, known[cut]), max(own, known[-1 - cut])


def taken(rows: Sequence[Row], name: str) -> set[str]:
    """Return the values that a parameter took, as words."""
    return {word(row.params[name]) for row in rows if name in row.params}
