"""Candidates of TPE and random ones, ranked by what extremely randomised trees expect of them.

The trees' target is a trial's place among all trials, as a normal score: the share of trials that
it beats at the highest rung that it has reached, where those that ended below are beaten. Pruned
and running trials thus tell as much as their curves do, whatever the scale of the metric. Trials
that diverged or failed are the last.

A candidate is drawn in proportion to the improvement that the trees expect of it. The best one of
many is where the trees err most, and workers that ask at once would be proposed the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution

from tuner.algorithms.rung_scores import Floats, Scoreboard, Table
from tuner.algorithms.samplers.costs import Cost
from tuner.algorithms.samplers.parzen import Parzen
from tuner.algorithms.samplers.refits import MOST_ROWS, last_fit
from tuner.algorithms.samplers.tpe import Tpe
from tuner.config.bounds import Count, Factor, Positive, Whole
from tuner.space.tree import Space

if TYPE_CHECKING:
    from tuner.algorithms.samplers.trees import Trees

TINY = 1e-300


class Forest(Tpe):
    """Propose whole configurations, as ``Tpe`` does, of which the trees expect most.

    A proposal is a function of the seed, the trial's number and the contents of the study.

    Args:
        trees: Number of trees.
        space, seed, scoreboard, n_startup_trials, n_candidates, least, good, width, cost: As of
        ``Tpe``.
    """

    def __init__(
        self,
        space: Space | Mapping[str, BaseDistribution],
        seed: int | None = None,
        scoreboard: Scoreboard | None = None,
        *,
        n_startup_trials: Whole,
        n_candidates: Count,
        least: Count,
        good: Factor,
        width: Positive,
        trees: Count,
        cost: Cost = "none",
    ) -> None:
        super().__init__(
            space,
            seed,
            scoreboard,
            n_startup_trials=n_startup_trials,
            n_candidates=n_candidates,
            least=least,
            good=good,
            width=width,
            cost=cost,
        )
        self.trees = trees

    def _candidates(self, rng: np.random.Generator, good: Parzen) -> Floats:
        uniform = self.encoding.uniform(rng, self.n_candidates)
        return np.concatenate([good.draw(rng, self.n_candidates), uniform])

    def _gain(
        self, rows: Floats, table: Table, good: Parzen, bad: Parzen, rng: np.random.Generator
    ) -> Floats:
        """Return the log expected improvement with Gumbel noise, or TPE's gain before a fit.

        The largest of logarithms with Gumbel noise is a draw in proportion to their exponentials.
        """
        before = len(table.points) - 1  # the last one is asking
        count = last_fit(before, max(self.n_startup_trials, 1))
        if count is None:
            return super()._gain(rows, table, good, bad, rng)
        key = self.encoding, count, self.trees
        model, best = self.scoreboard.derived("trees", key, lambda: self._fit(table.first(count)))
        if model is None:
            return super()._gain(rows, table, good, bad, rng)
        expected = model.expected_improvement(self.encoding.features(rows), best)
        return np.log(np.maximum(expected, TINY)) + rng.gumbel(size=len(rows))

    def _fit(self, table: Table) -> "tuple[Trees | None, float]":
        """Return the fitted trees and the largest target, or None if nothing is known."""
        from tuner.algorithms.samplers import trees  # scikit-learn is slow to import

        places = table.places()
        known = chosen(places)
        if not len(known):
            return None, 0.0
        targets = trees.normal_scores(places[known])
        features = self.encoding.features(table.points[known])
        return trees.fit(features, targets, self.trees), float(targets.max())


def chosen(places: Floats) -> Any:
    """Return the indices of the trials to fit: if too many are known, the best and the latest."""
    known = np.flatnonzero(~np.isnan(places))
    if len(known) <= MOST_ROWS:
        return known
    best = known[np.argsort(-places[known], kind="stable")[: MOST_ROWS // 2]]
    rest = np.setdiff1d(known, best)
    return np.sort(np.concatenate([best, rest[-(MOST_ROWS - len(best)) :]]))
