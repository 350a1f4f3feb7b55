"""Compute how important parameters are for reaching the best tenth of the trials, by PED-ANOVA.

The values of a parameter are put in the cells of a grid. Its importance is the Pearson divergence
of two densities over the cells, one of the best tenth of the trials and one of all; see Watanabe,
Bansal and Hutter, "PED-ANOVA", IJCAI 2023. A parameter that not every trial has, or not with the
same range, has a divergence for each range, weighted by how many of the trials have it.

This is Optuna's ``PedAnovaImportanceEvaluator`` with its defaults. It is not called, because
``optuna.importance`` imports scikit-learn for its other evaluators, which takes a second, and
because counts of trials make resamples of them cheap.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.floating]

BEST = 0.1
"""Share of the trials that are the best."""
CELLS = 50
"""Largest number of cells of a range."""
LEAST = 2
"""Number of trials that must have a range for its divergence to count."""
NARROWEST = 0.5 / 1.64
"""Smallest bandwidth, at which nine tenths of a kernel lie in its own cell."""


@dataclass(frozen=True)
class Range:
    """The trials that have a parameter with one distribution, and the cells of their values."""

    name: str
    trials: Integers
    cells: Integers
    size: int
    """Number of cells."""
    ordered: bool
    """Whether neighbouring cells have similar values, unlike the choices of a category."""


def ranges(trials: Sequence[FrozenTrial], names: Sequence[str]) -> list[Range]:
    """Return the ranges of the parameters, without those that have a single value."""
    found = []
    for name in names:
        members: dict[Hashable, list[int]] = {}
        for number, trial in enumerate(trials):
            members.setdefault(trial.distributions.get(name), []).append(number)
        for kind, numbers in members.items():
            if isinstance(kind, BaseDistribution) and not kind.single():
                cells, size = _cells(kind, [trials[number].params[name] for number in numbers])
                ordered = not isinstance(kind, CategoricalDistribution)
                found.append(Range(name, np.array(numbers), cells, size, ordered))
    return found


def shares(
    known: Sequence[Range], names: Sequence[str], losses: Floats, drawn: Integers
) -> dict[str, float]:
    """Return the importances, in descending order; their sum is 1.

    Args:
        known: The ranges of the parameters.
        names: The parameters.
        losses: The loss of each trial; all are finite.
        drawn: Numbers of the trials to consider; one may occur several times.
    """
    rank = math.ceil(BEST * len(drawn)) - 1
    is_best = losses <= np.partition(losses[drawn], rank)[rank]
    counts = np.bincount(drawn, minlength=len(losses))
    n_best = (counts * is_best).sum()
    found = dict.fromkeys(names, 0.0)
    for each in known:
        weights = counts[each.trials]
        best = weights * is_best[each.trials]
        if weights.sum() >= LEAST and best.any():
            weight = (best.sum() / n_best) ** 2 / (weights.sum() / len(drawn))
            found[each.name] += weight * _divergence(each, best, weights)
    total = sum(found.values())
    if not total:
        return dict.fromkeys(names, 1 / len(names))
    descending = sorted(found.items(), key=lambda item: -item[1])
    return {name: value / total for name, value in descending}


def _cells(kind: BaseDistribution, values: Sequence[Any]) -> tuple[Integers, int]:
    """Return the cells of values, and how many there are."""
    if isinstance(kind, CategoricalDistribution):
        return np.array([int(kind.to_internal_repr(v)) for v in values]), len(kind.choices)
    assert isinstance(kind, IntDistribution | FloatDistribution)
    size = CELLS
    if isinstance(kind, IntDistribution) and kind.log:
        size = min(CELLS, math.ceil(math.log2(kind.high - kind.low + 1)) + 1)
    elif kind.step is not None:
        size = round(min(CELLS - 1, (kind.high - kind.low) / kind.step)) + 1
    scaled, ends = np.array(values, np.float64), np.array([kind.low, kind.high], np.float64)
    if kind.log:
        scaled, ends = np.log(scaled), np.log(ends)
    with np.errstate(all="ignore"):  # a range as wide as floats go
        cells = np.ceil((scaled - ends[0]) / (ends[1] - ends[0]) * (size - 1) - 0.5)
    return np.clip(np.nan_to_num(cells), 0, size - 1).astype(np.int64), size


def _divergence(each: Range, best: Integers, weights: Integers) -> float:
    density = _ordered if each.ordered else _categorical
    one, other = (
        density(np.bincount(each.cells, counts, each.size).astype(np.float64))
        for counts in (best, weights)
    )
    return float(other @ (one / other - 1) ** 2)


def _categorical(counts: Floats) -> Floats:
    """Return the density of a Parzen estimator with a kernel for each cell that has trials."""
    size, kernels, total = len(counts), np.count_nonzero(counts) + 1, counts.sum()
    of_kernels = (total / kernels + counts) / (size / kernels + 1)
    found: Floats = (of_kernels + 1 / size) / (total + 1)
    return found


def _ordered(counts: Floats) -> Floats:
    """Return the density of a Parzen estimator of normal kernels, and a wide one as the prior."""
    size, total = len(counts), counts.sum()
    at = np.flatnonzero(counts)
    kernels = _kernels(at, _bandwidth(at, counts[at]), size)
    prior = _mass(np.arange(size + 1) - size / 2, size)
    found: Floats = (counts[at] @ kernels + prior / prior.sum()) / (total + 1)
    return found


def _bandwidth(at: Integers, weights: Floats) -> float:
    """Return the standard deviation of the kernels by Scott's rule."""
    below = weights.cumsum()
    total = below[-1]
    mean = at @ weights / total
    deviation = math.sqrt((at - mean) ** 2 @ weights / max(1, total - 1))
    first = np.searchsorted(below, total // 4)
    third = np.searchsorted(below, total * 3 // 4, side="right")
    spread = (at[min(len(at) - 1, third)] - at[first]) / 1.34
    return max(float(1.059 * min(spread, deviation) * total**-0.2), NARROWEST)


def _kernels(at: Integers, deviation: float, size: int) -> Floats:
    """Return the mass of normal kernels in all cells; each row is that of a kernel's cell."""
    mass = _mass(np.arange(1 - size, size + 1) - 0.5, deviation)  # by the distance of two cells
    found = mass[np.arange(size) - at[:, None] + size - 1]
    rows: Floats = found / found.sum(axis=1, keepdims=True)
    return rows


def _mass(edges: Numbers, deviation: float) -> Floats:
    """Return twice the mass of a normal distribution with mean 0 between successive edges."""
    mass: Floats = np.diff([math.erf(edge) for edge in edges / (deviation * math.sqrt(2))])
    return mass
