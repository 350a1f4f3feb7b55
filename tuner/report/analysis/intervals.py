"""Confidence intervals of means and of proportions."""

import math
import statistics
from collections.abc import Sequence

Z = 1.959964
"""The normal distribution's 97.5 % quantile."""


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # takes 0.6 s to import

    return float(stdtrit(freedom, 0.975))


def interval_of(values: Sequence[float], *, share: bool) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean of two or more values, by Student's t.

    For a ``share``, which lies from 0 to 1, it is computed on the angular scale, asin √x, where the
    spread does not shrink towards the ends (Bartlett, 1936). This interval is asymmetric and never
    exceeds 1.
    """
    if share and all(0 <= value <= 1 for value in values):
        low, high = interval_of([math.asin(math.sqrt(v)) for v in values], share=False)
        return math.sin(max(low, 0.0)) ** 2, math.sin(min(high, math.pi / 2)) ** 2
    half = student(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) of a proportion observed on ``count`` images."""
    centre = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return (centre - half) / scale, (centre + half) / scale
