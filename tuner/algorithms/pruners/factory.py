"""Build the pruner of a configuration, and the study that is passed to it."""

import optuna
from omegaconf import DictConfig
from optuna.pruners import BasePruner
from optuna.study import StudyDirection

from tuner.algorithms.experimental_warnings import instantiate
from tuner.errors import ConfigError


def build_pruner(cfg: DictConfig) -> BasePruner:
    """Return the pruner of ``cfg.pruner``."""
    built = instantiate(cfg.pruner)
    if not isinstance(built, BasePruner):
        raise ConfigError(f"{cfg.pruner._target_} is not an Optuna pruner", key="pruner._target_")
    return built


class Traded(optuna.Study):
    """A study whose direction is that of its first objective, even if it has several.

    Optuna's pruners, and its TPE when it ranks pruned trials, use a single direction. With several
    objectives, Optuna raises an error instead of returning one (optuna/optuna#3450).
    """

    @property
    def direction(self) -> StudyDirection:
        """The direction of the metric that trials report."""
        return self.directions[0]
