"""A tree-structured Parzen estimator that learns from learning curves, not only from final values.

Bergstra et al. 2011: split the trials into good and bad ones, draw candidates from the density of
the good ones, and propose the candidate with the largest ratio of this density to that of the bad
ones. Here, trials are ranked by their values at the highest rung that enough of them have reached,
including running trials and trials that were pruned later. Trials that ended below that rung are
bad, whether they were pruned, diverged or could not run at all.
"""

import functools
import math
import secrets
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from tuner.algorithms import experimental_warnings
from tuner.algorithms.rung_scores import Floats, Scoreboard, Table
from tuner.algorithms.samplers import encoding
from tuner.algorithms.samplers.costs import Cost, Costs
from tuner.algorithms.samplers.parzen import Parzen
from tuner.config.bounds import Count, Factor, Positive, Whole
from tuner.space.tree import Space
from tuner.study.attempts import FIXED

MOST_GOOD = 25
"""Maximum number of good trials, as in hyperopt and in Optuna."""
RETRIES = 1024
"""Number of draws from the prior to try if all candidates are known configurations."""


class Tpe(BaseSampler):
    """Propose whole configurations, including the branches of conditional parameters.

    A proposal is a function of the seed, the trial's number and the contents of the study, so a new
    sampler can be created for each trial. A shared ``scoreboard`` then keeps the trials already
    read.
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
        cost: Cost = "none",
    ) -> None:
        self.encoding = (
            encoding.of_space(space)
            if isinstance(space, Space)
            else encoding.of_distributions(space)
        )
        self.scoreboard = scoreboard or Scoreboard()
        self.seed = secrets.randbits(31) if seed is None else seed
        self.n_startup_trials = n_startup_trials
        self.n_candidates = n_candidates
        self.least = least
        self.good = good
        self.width = width
        self.costs = Costs(self.encoding, self.scoreboard, cost)

    @functools.cached_property
    def several(self) -> TPESampler:
        """Optuna's TPE for several objectives, whose trade-offs are known only at a trial's end."""
        with experimental_warnings.allowed():
            return TPESampler(multivariate=True, group=True, seed=self.seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if len(study.directions) > 1:
            return self.several.infer_relative_search_space(study, trial)
        return dict(self.encoding.distributions)  # PartialFixedSampler removes the fixed ones

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(study.directions) > 1:
            return self.several.sample_relative(study, trial, search_space)
        rng = np.random.default_rng([self.seed, trial.number])
        table = self.scoreboard.table(study, self.encoding)
        given = self.encoding.row({**trial.system_attrs.get(FIXED, {}), **trial.params})
        drawn = self.encoding.params(self.propose(table, rng, given))
        return {name: value for name, value in drawn.items() if name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample a parameter that is not in the search space at random."""
        if len(study.directions) > 1:
            return self.several.sample_independent(study, trial, param_name, param_distribution)
        seed = zlib.crc32(f"{self.seed} {trial.number} {param_name}".encode())
        independent = RandomSampler(seed)
        return independent.sample_independent(study, trial, param_name, param_distribution)

    def propose(self, table: Table, rng: np.random.Generator, given: Floats) -> Floats:
        """Propose a snapped row that is not in the table, unless the space is exhausted.

        Args:
            table: The trials of the study.
            rng: Source of randomness.
            given: Row of values to keep, NaN where the sampler is free; shape (columns,).
        """
        known = table.points[table.live]
        proposed: list[Floats] = []
        for drawn in self._draws(table, rng, given):
            proposed.extend(drawn)
            for row in drawn:
                if not encoding.is_known(row, known):
                    return np.asarray(row)
        return proposed[0]

    def _draws(self, table: Table, rng: np.random.Generator, given: Floats) -> Iterator[Floats]:
        """Yield batches of candidate rows in the order in which they should be tried."""

        def snapped(rows: Floats) -> Floats:
            return self.encoding.snap(np.where(np.isnan(given), rows, given))

        split = self.split(table)
        if split is not None:
            good, bad = self._densities(*split)
            drawn = snapped(self._candidates(rng, good))
            gain = self._gain(drawn, table, good, bad, rng) - self.costs.log(drawn, table)
            yield drawn[np.argsort(-gain, kind="stable")]
        yield snapped(self.encoding.uniform(rng, RETRIES))
        every = self.encoding.grid()
        if every is not None:
            yield rng.permutation(every[(np.isnan(given) | (every == given)).all(axis=1)])

    def _candidates(self, rng: np.random.Generator, good: Parzen) -> Floats:
        """Return rows to choose from, with every column filled, not snapped."""
        return good.draw(rng, self.n_candidates)

    def _gain(
        self, rows: Floats, table: Table, good: Parzen, bad: Parzen, rng: np.random.Generator
    ) -> Floats:
        """Return the logarithm of what is expected of the candidates ``rows``, by their rank."""
        return good.log_density(rows) - bad.log_density(rows)

    def _densities(self, good: Floats, bad: Floats) -> tuple[Parzen, Parzen]:
        """Return the densities of the good and of the bad trials.

        The kernels of the good trials get narrower with the number of trials; those of the bad ones
        follow Scott's rule for their number of dimensions. Only a few parameters matter much
        (Bergstra and Bengio 2012), so Scott's rule for all of them would hardly narrow the kernels
        of the good trials.
        """
        scott = max(1, len(bad)) ** (-1 / (4 + len(self.encoding.columns)))
        return (
            Parzen(self.encoding, good, self.width / math.sqrt(len(good))),
            Parzen(self.encoding, bad, self.width * scott),
        )

    def split(self, table: Table) -> tuple[Floats, Floats] | None:
        """Return the points of good and of bad trials, None while there are too few trials."""
        rung = table.highest(self.least)
        if rung is None or np.count_nonzero(table.live) < self.n_startup_trials:
            return None
        there = np.flatnonzero(table.reached(rung))
        ranked = there[np.argsort(-table.scores[there, rung], kind="stable")]
        n_good = min(math.ceil(self.good * len(ranked)), MOST_GOOD)
        ended_below = np.flatnonzero(table.live & table.over & ~table.reached(rung))
        bad = np.concatenate([ranked[n_good:], ended_below])
        return table.points[ranked[:n_good]], table.points[bad]
