"""Whether more search can still be told from luck.

Scores differ between seeds.  Once as many configurations again are expected to raise the best by
less than that difference, going on chooses among lucky seeds, not among configurations.
"""

import math
from collections.abc import Sequence
from statistics import stdev

REPEAT = "tuner:repeat"
"""System attribute of a run that measures the noise: the number of the trial it repeats."""
LEAST = 20
"""Configurations that must have ended before their distribution is believed."""


def gain(losses: Sequence[float], unfinished: int) -> float:
    """What the second half of a search has lowered the best loss by, in expectation.

    ``losses`` are those of the complete; so many ``unfinished`` ones were given up and take part as
    none of the best.  The difference between the expected best of half and of all, whatever the
    order in which they came.  Gains fall as a search goes on, so that as many configurations again
    are expected to gain no more.
    """
    n = len(losses) + unfinished
    worst = max(losses)
    values = sorted([*losses, *[worst] * unfinished])
    return expected_best(values, n // 2) - values[0]


def expected_best(values: Sequence[float], k: int) -> float:
    """The mean of the smallest of ``k`` of the ascending values, over all ways to draw them.

    Σᵢ C(n - i, k - 1) / C(n, k) · v₍ᵢ₎, from the smallest on: the unbiased estimate, from n
    results, of what k of them would have reached (Tang et al., ACL 2020).
    """
    n = len(values)
    ways = math.comb(n, k)
    return sum(math.comb(n - i, k - 1) / ways * v for i, v in enumerate(values, start=1))


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of repeated runs (n - 1 degrees of freedom); None without a repetition."""
    return stdev(values) if len(values) > 1 else None
