"""Predict what a training costs, in epochs or seconds, from the trials so far.

The model is a regression by extremely randomised trees (Geurts et al. 2006). They need no scale of
the parameters, and are not disturbed by parameters that do not matter.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tuner.algorithms.rung_scores import Floats, Scoreboard, Table
from tuner.algorithms.samplers.encoding import Encoding

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

Cost = Literal["auto", "seconds", "epochs", "none"]
"""What expected gains are divided by; ``auto`` is for ``factory``, which knows the budget, and is
``none`` for a sampler that is built otherwise.
"""

LEAST_KNOWN = 4
"""Number of trials of known cost from which on costs are predicted."""
WEIGHT = 0.5
"""Exponent of the cost. TPE's ratio of densities is no calibrated gain: undamped, hundreds of the
cheapest configurations were tried on one task of LCBench.
"""
TREES = 16
GROWTH = 0.2
"""Fraction of new trials after which the model is fitted again."""
MOST_ROWS = 2000
"""Number of trials to which the model is fitted at most."""


@dataclass(frozen=True)
class Costs:
    """Predicts the cost of the whole schedule of a configuration."""

    encoding: Encoding
    scoreboard: Scoreboard
    cost: Cost

    def log(self, rows: Floats, table: Table) -> Floats:
        """Return the weighted log cost of encoded rows, 0 if costs do not count or vary."""
        flat = np.zeros(len(rows))
        before = len(table.points) - 1  # the last one is asking
        count = None if self.cost in ("auto", "none") else last_fit(before)
        if count is None:
            return flat
        key = self.encoding, count, self.cost
        model = self.scoreboard.derived(key, lambda: self._fit(table.first(count)))
        if model is None:
            return flat
        predicted: Floats = model.predict(self.encoding.features(rows))
        return WEIGHT * predicted

    def _fit(self, table: Table) -> "ExtraTreesRegressor | None":
        from sklearn.ensemble import ExtraTreesRegressor  # takes a second to import

        costs = table.costs[:, ("epochs", "seconds").index(self.cost)]
        known = np.flatnonzero(table.live & ~np.isnan(costs))[-MOST_ROWS:]
        if len(known) < LEAST_KNOWN or np.ptp(costs[known]) == 0:
            return None
        features = self.encoding.features(table.points[known])
        return ExtraTreesRegressor(TREES, random_state=0).fit(features, np.log(costs[known]))


def last_fit(trials: int) -> int | None:
    """Return with how many trials the model was fitted last, None before ``LEAST_KNOWN`` trials.

    It depends on the number of trials only, so that a study that is resumed goes on with the same
    model.
    """
    found, due = None, LEAST_KNOWN
    while due <= trials:
        found = due
        due += math.ceil(GROWTH * due)
    return found
