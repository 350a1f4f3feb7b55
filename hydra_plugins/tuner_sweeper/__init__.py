"""``hydra/sweeper=tuner``: a Hydra application's own command line starts a search of tuner's.

Hydra imports this module whenever it starts, in any program: it must stay light.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

SEARCH = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra/launcher", "hydra.launcher")
"""Overrides that say how Hydra itself would sweep."""

NODE = {
    "_target_": "hydra_plugins.tuner_sweeper.TunerSweeper",
    "_recursive_": False,  # a sampler that is described is not built here
    "defaults": [{"sampler": None}],  # which `override hydra/sweeper/sampler: tpe` may replace
    "params": None,
}
"""``hydra.sweeper``: ``params``, and the keys that ``tuner.config.sweeper`` knows."""

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "motpe": "MOTPESampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
}
"""Options of ``hydra/sweeper/sampler`` in hydra-optuna-sweeper, whose users keep them."""


def _register() -> None:
    """Open, unlike a dataclass: any key may be said below it, and is judged before the search."""
    store = ConfigStore.instance()
    node = DictConfig(NODE, flags={"struct": False})
    store.store(group="hydra/sweeper", name="tuner", node=node, provider="tuner")
    known = store.repo.get("hydra", {}).get("sweeper", {}).get("sampler", {})
    for name, sampler in SAMPLERS.items():
        if f"{name}.yaml" not in known:  # theirs, where both are installed
            target = {"_target_": f"optuna.samplers.{sampler}"}
            store.store(group="hydra/sweeper/sampler", name=name, node=target, provider="tuner")


_register()


class TunerSweeper(Sweeper):
    """``tuner tune --app`` with what Hydra was asked for; ``tuner best --app`` and so on follow."""

    def __init__(self, **written: Any) -> None:
        self.written = {
            key: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for key, value in written.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Search; leaves by ``SystemExit`` where it fails or is interrupted."""
        from tuner import cli, log  # a second, which only programs that search must pay
        from tuner.config import sweeper
        from tuner.errors import ConfigError
        from tuner.masking import masked

        assert self.config is not None
        # Unresolved: hydra.sweep.subdir=${hydra.job.num} is of a job, which there is none of here.
        typed = OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)
        assert isinstance(typed, list)
        log.to_stderr()
        try:
            written = sweeper.overrides(self.written, typed)
        except ConfigError as error:
            print(log.printable(masked(f"error: {error}")), file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        of_hydra = [text for text in typed if not text.lstrip("+~").startswith(SEARCH)]
        if code := cli.main(
            ["tune", *self.options(), *written, *of_hydra, *sweeper.strip_plus(arguments)]
        ):
            raise SystemExit(code)

    def options(self) -> list[str]:
        """The application as tuner's command line names it."""
        assert self.config is not None
        runtime = self.config.hydra.runtime
        added = [s.path for s in runtime.config_sources if s.provider == "command-line"]
        file = Path(inspect.getfile(inspect.unwrap(self.task_function)))
        here = Path.cwd()
        shown = file.relative_to(here) if file.is_relative_to(here) else file
        name = self.config.hydra.job.config_name
        return [
            f"--app={shown}:{self.task_function.__name__}",
            *(f"--config-dir={path}" for path in added),
            *([f"--config-name={name}"] if name else []),
        ]
