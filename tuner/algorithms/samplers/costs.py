"""Predict what a training costs, in epochs or seconds, from the trials so far."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tuner.algorithms.rung_scores import Floats, Scoreboard, Table
from tuner.algorithms.samplers.encoding import Encoding
from tuner.algorithms.samplers.refits import MOST_ROWS, last_fit

if TYPE_CHECKING:
    from tuner.algorithms.samplers.trees import Trees

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
"""Fraction of new trials after which costs are fitted again; they are easier to predict."""


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
        count = None if self.cost in ("auto", "none") else last_fit(before, LEAST_KNOWN, GROWTH)
        if count is None:
            return flat
        key = self.encoding, count, self.cost
        model = self.scoreboard.derived("costs", key, lambda: self._fit(table.first(count)))
        return flat if model is None else WEIGHT * model.predict(self.encoding.features(rows))[0]

    def _fit(self, table: Table) -> "Trees | None":
        from tuner.algorithms.samplers import trees  # scikit-learn is slow to import

        costs = table.costs[:, ("epochs", "seconds").index(self.cost)]
        known = np.flatnonzero(table.live & ~np.isnan(costs))[-MOST_ROWS:]
        if len(known) < LEAST_KNOWN or np.ptp(costs[known]) == 0:
            return None
        features = self.encoding.features(table.points[known])
        return trees.fit(features, np.log(costs[known]), TREES)
