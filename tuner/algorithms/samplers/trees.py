"""Extremely randomised trees, which predict how good a configuration is, with its uncertainty.

Geurts et al. 2006; as a surrogate for Bayesian optimisation, Hutter et al. 2011 (SMAC). Trees need
no scale of the metric or of the parameters, and are not disturbed by parameters that do not matter.

Importing scikit-learn takes a second, so only what proposes configurations imports this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]
from sklearn.ensemble import ExtraTreesRegressor

from tuner.algorithms.rung_scores import Floats

LEAST_DEVIATION = 1e-9
"""Standard deviation where all trees agree, as they do at configurations that are known."""

LOWEST = -1.0
"""Smallest normal score."""


@dataclass(frozen=True)
class Trees:
    """Fitted trees."""

    trees: Sequence[Any]

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return the mean of the trees' predictions and their standard deviation at each row."""
        single = np.ascontiguousarray(rows, np.float32)
        each = np.array([tree.predict(single, check_input=False) for tree in self.trees])
        return each.mean(0), each.std(0) + LEAST_DEVIATION

    def expected_improvement(self, rows: Floats, best: float) -> Floats:
        """Return by how much each row is expected to exceed ``best``, 0 where it does not."""
        mean, deviation = self.predict(rows)
        u = (mean - best) / deviation
        return np.asarray(deviation * (u * ndtr(u) + np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)))


def fit(rows: Floats, targets: Floats, count: int) -> Trees:
    """Fit ``count`` trees, the same for the same data.

    Args:
        rows: Finite numbers, shape (rows, features).
        targets: Finite numbers, shape (rows,).
        count: The number of trees.
    """
    made = ExtraTreesRegressor(count, random_state=0).fit(rows, targets)
    return Trees(made.estimators_)


def normal_scores(places: Floats) -> Floats:
    """Return quantiles of the normal distribution for places from 0 to 1.

    Below ``LOWEST`` all are equal: how bad the bad ones are does not help to find the best.
    """
    margin = 0.5 / (len(places) + 1)
    return np.asarray(np.maximum(ndtri(np.clip(places, margin, 1 - margin)), LOWEST))
