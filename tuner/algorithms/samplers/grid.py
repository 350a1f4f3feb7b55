"""Grid search: every combination of listed values, once."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.samplers import GridSampler
from optuna.trial import FrozenTrial, TrialState

from tuner.space.distributions import Scalar


class Grid(GridSampler):
    """Optuna's grid sampler, but it does not stop the study: the budget ends the search."""

    def __init__(self, search_space: Mapping[str, Sequence[Scalar]], seed: int) -> None:
        super().__init__(search_space, seed)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Do nothing: `study.n_trials` and the size of the grid end the search."""
