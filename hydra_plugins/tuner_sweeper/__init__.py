"""``hydra/sweeper=tuner``: a Hydra application's own command line starts a search of tuner's.

Hydra imports this module whenever it starts, in any program: it must stay light.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

SEARCH = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra/launcher", "hydra.launcher")
"""Overrides that say how Hydra itself would sweep."""


@dataclass
class TunerSweeperConf:
    """The node ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.tuner_sweeper.TunerSweeper"
    params: Any = None  # a dict would be closed: hydra.sweeper.params={…} could not fill it
    """What may vary, as in ``lr: interval(0, 1)``; the command line's sweeps come on top."""
    settings: Any = None
    """Keys of tuner's own sections, as in ``study: {n_trials: 40}`` or ``study.n_trials: 40``."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="tuner", node=TunerSweeperConf, provider="tuner"
)


class TunerSweeper(Sweeper):
    """``tuner tune --app`` with what Hydra was asked for; ``tuner best --app`` and so on follow."""

    def __init__(self, params: Mapping[str, Any] | None, settings: Mapping[str, Any] | None):
        self.written = {**(params or {}), **_flat(settings or {})}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Search; leaves by ``SystemExit`` where it fails or is interrupted."""
        from tuner.cli import main  # a second, which programs that do not search must not pay

        if code := main(["tune", *self.options(), *self.overrides(), *arguments]):
            raise SystemExit(code)

    def options(self) -> list[str]:
        """The application as tuner's command line names it."""
        assert self.config is not None
        runtime = self.config.hydra.runtime
        added = [s.path for s in runtime.config_sources if s.provider == "command-line"]
        file = inspect.getfile(self.task_function)
        name = self.config.hydra.job.config_name
        return [
            f"--app={file}:{self.task_function.__name__}",
            *(f"--config-dir={path}" for path in added),
            *([f"--config-name={name}"] if name else []),
        ]

    def overrides(self) -> list[str]:
        """The space and settings of the configuration, and what was said of Hydra itself."""
        assert self.config is not None
        said = [text for text in self.config.hydra.overrides.hydra if not text.startswith(SEARCH)]
        texts = (f"{key}={'null' if v is None else v}" for key, v in self.written.items())
        return [*texts, *said]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        below = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{key}.") if below else {f"{prefix}{key}": value}
    return found
