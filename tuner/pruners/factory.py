"""The pruner of a configuration, and the study that it is asked about."""

import optuna
from omegaconf import DictConfig
from optuna.pruners import BasePruner
from optuna.study import StudyDirection

from tuner.errors import ConfigError
from tuner.samplers.experimental import instantiate


def build_pruner(cfg: DictConfig) -> BasePruner:
    """The pruner of ``cfg.pruner``."""
    built = instantiate(cfg.pruner)
    if not isinstance(built, BasePruner):
        raise ConfigError(f"pruner._target_: {cfg.pruner._target_} is no Optuna pruner")
    return built


class Traded(optuna.Study):
    """A study whose direction is that of its first objective, however many there are.

    Optuna's pruners, and its TPE where it ranks pruned trials, ask for the one direction.  Of
    several objectives it refuses to name one, and so to prune (optuna/optuna#3450).
    """

    @property
    def direction(self) -> StudyDirection:
        """Of the metric that trials report."""
        return self.directions[0]
