"""Estimate how many pruned trials would have won, from how well ranks persist in a study.

At a fraction of their schedules, trials have ranks; at the end, those that completed have ranks
again. If the two agree, a trial that was far behind when it was rejected would hardly have won; if
they do not, it might have. The model is a Gaussian copula: with z the normal score of a trial's
rank at the fraction, the normal score of its final value is

    f = r z + √(1 - r²) e,    e ~ N(0, 1),

with one r for all trials at the fraction. Only ranks enter, so that all monotonic scales of a
metric are treated alike. As the pruner decides by the values up to the fraction, which z stands
for, what it selects does not bias the relation of f to z.

r is unknown, and uniform on [-0.2, 1] before anything is seen: ranks may tell nothing, or be
slightly reversed. (From 0 on, the interval would be narrower, and too narrow if ranks do tell
nothing.) Studies are simulated with the z that were observed, and those are retained whose
completed trials, audited ones included, have nearly the rank correlation that was observed
(approximate Bayesian computation). In each of these, the rejected trials that beat every survivor
are counted. The counts are draws from the posterior distribution of the number of false prunings,
for the rejected trials and the survivors of this study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LOWEST = -0.2
"""The smallest correlation that is considered."""
LEAST, MOST, WORK = 400, 4000, 4_000_000
"""Number of simulated studies, and of random numbers to spend on them."""
RETAINED = 0.1
"""Fraction of the simulated studies that is retained."""


@dataclass(frozen=True)
class Rung:
    """Trials that were rejected at a fraction of their schedules, and those that completed.

    Larger values are better.
    """

    rejected: Floats
    """Normal scores at the fraction."""
    completed: Floats
    """Normal scores at the fraction, of at least one survivor."""
    final: Floats
    """Final values of the completed trials, in the same order."""
    survived: Bools
    """Which of the completed trials were never rejected; the others were audited."""


def normal_scores(values: Floats, pool: Floats) -> Floats:
    """Return the normal scores of the values' ranks in ``pool``, which contains finite ones."""
    ascending = np.sort(pool)
    left, right = (np.searchsorted(ascending, values, side) for side in ("left", "right"))
    middle = np.clip((left + right) / 2, 0.5, len(pool) - 0.5)
    return np.array([_quantile(float(rank), len(pool)) for rank in middle])


@cache
def _quantile(rank: float, count: int) -> float:
    return NormalDist().inv_cdf(rank / count)


def false_prunings(rungs: Sequence[Rung]) -> Floats:
    """Return posterior draws of the number of rejected trials that beat every survivor.

    For the same study, the draws are the same.
    """
    rng = np.random.default_rng(0)
    size = sum(len(rung.rejected) + len(rung.completed) for rung in rungs)
    draws = min(MOST, max(LEAST, WORK // max(1, size)))
    return sum((_counts(rung, rng, draws) for rung in rungs), np.zeros(round(RETAINED * draws)))


def _counts(rung: Rung, rng: "np.random.Generator", draws: int) -> Floats:  # imported if used
    """Return the counts in the retained studies, in the order of their r.

    At all rungs, ranks persist less in the first studies than in the last.
    """
    r = np.sort(rng.uniform(LOWEST, 1, draws))[:, None]
    noise = np.sqrt(1 - r**2)
    finals = r * rung.completed + noise * rng.standard_normal((draws, len(rung.completed)))
    observed = _correlations(rung.completed, _ranks(rung.final)[None, :])
    simulated = _correlations(
        rung.completed, finals.argsort(axis=1).argsort(axis=1).astype(np.float64)
    )
    nearest = np.argsort(np.abs(simulated - observed), kind="stable")
    kept = np.sort(nearest[: round(RETAINED * draws)])
    rejected = r[kept] * rung.rejected
    rejected += noise[kept] * rng.standard_normal(rejected.shape)
    best = finals[kept][:, rung.survived].max(axis=1, keepdims=True)
    counts: Floats = (rejected > best).sum(axis=1).astype(float)
    return counts


def _ranks(values: Floats) -> Floats:
    """Return ascending ranks; equal values have their mean rank."""
    ascending = np.sort(values)
    left, right = (np.searchsorted(ascending, values, side) for side in ("left", "right"))
    return np.asarray((left + right - 1) / 2, np.float64)


def _correlations(scores: Floats, ranks: Floats) -> Floats:
    """Return the correlation of the scores with each row of ranks; 0 where either is constant."""
    centred = scores - scores.mean()
    ranks = ranks - (len(scores) - 1) / 2
    norm = np.sqrt((ranks**2).sum(axis=1) * (centred**2).sum())
    found: Floats = ranks @ centred / np.maximum(norm, 1e-12)
    return found
