"""Random search, reproducible for each trial and parameter."""

import secrets
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from tuner.algorithms.seeds import seed_of


class Random(RandomSampler):
    """Random search in which each value depends only on the seed and the parameter's name.

    A trial whose worker was killed between two draws therefore gets the same values.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.seed = secrets.randbits(31) if seed is None else seed

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = RandomSampler(seed_of(self.seed, param_name))
        return drawn.sample_independent(study, trial, param_name, param_distribution)
