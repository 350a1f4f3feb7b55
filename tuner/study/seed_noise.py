"""Decide whether further search is expected to gain more than the seed-to-seed noise.

Scores differ between seeds. Once doubling the number of configurations is expected to improve the
best value by less than this noise, further search selects lucky seeds instead of better
configurations.
"""

import math
from collections.abc import Sequence
from statistics import stdev

REPEAT = "tuner:repeat"
"""System attribute of a run that measures the noise: the number of the trial that it repeats."""
LEAST = 20
"""Number of configurations that must have ended before their distribution is used."""


def gain(losses: Sequence[float], unfinished: int) -> float:
    """Return the expected decrease of the best loss by the second half of a search.

    It is the difference between the expected best of half of the configurations and the best of
    all, over all orders. Gains decrease during a search, so doubling the number of configurations
    is expected to gain at most this much.

    Args:
        losses: The losses of the completed configurations.
        unfinished: The number of pruned or failed configurations, which are never the best.
    """
    n = len(losses) + unfinished
    worst = max(losses)
    values = sorted([*losses, *[worst] * unfinished])
    return expected_best(values, n // 2) - values[0]


def expected_best(values: Sequence[float], k: int) -> float:
    """Return the mean of the smallest of ``k`` of the ascending values, over all ways to draw them.

    Σᵢ C(n - i, k - 1) / C(n, k) · v₍ᵢ₎, from the smallest on: the unbiased estimate, from n
    results, of the best of k results (Tang et al., ACL 2020).
    """
    n = len(values)
    ways = math.comb(n, k)
    return sum(math.comb(n - i, k - 1) / ways * v for i, v in enumerate(values, start=1))


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of repeated runs (with n - 1); None for a single one."""
    return stdev(values) if len(values) > 1 else None
