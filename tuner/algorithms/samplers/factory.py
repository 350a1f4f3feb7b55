"""Build the sampler of a configuration for one trial."""

import functools
from typing import Any

from omegaconf import DictConfig
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, QMCSampler

from tuner.algorithms.experimental_warnings import instantiate
from tuner.algorithms.rung_scores import Scoreboard
from tuner.algorithms.samplers import encoding
from tuner.algorithms.samplers.cmaes import CmaEs
from tuner.algorithms.samplers.random import Random
from tuner.algorithms.seeds import seed_of
from tuner.config.targets import locate, signature
from tuner.errors import ConfigError
from tuner.space.grid import grid
from tuner.space.tree import Space


def build_sampler(
    cfg: DictConfig, space: Space, seed: int, scoreboard: Scoreboard | None = None
) -> BaseSampler:
    """Return the sampler of ``cfg.sampler``, with its seed combined with the trial's ``seed``.

    Each trial gets a new sampler. Optuna does not store the state of its random generator, so a
    sampler that lives as long as its worker would repeat its draws when the study is resumed; with
    one seed for all trials, it would draw the same values for each. ``scoreboard`` caches the data
    of the study that tuner's samplers have read.
    """
    node = cfg.sampler
    given: dict[str, Any] = {}
    own = node.get("seed")
    if own is None:
        given["seed"] = seed
    elif not _is_common(str(node._target_)):
        given["seed"] = seed_of(own, seed)
    parameters = signature(str(node._target_))[0]
    if "scoreboard" in parameters:
        given |= {"space": space, "scoreboard": scoreboard}
    if node.get("cost") == "auto":
        given["cost"] = cost_of(cfg)
    if "search_space" in parameters:
        given["search_space"] = grid(space)
    if "independent_sampler" in parameters:
        # Draws what the sampler itself does not: with one seed it would draw the same every time.
        given["independent_sampler"] = Random(seed)
    built = instantiate(node, **given)
    if not isinstance(built, BaseSampler):
        raise ConfigError(f"{node._target_} is not an Optuna sampler", key="sampler._target_")
    if isinstance(built, CmaEsSampler) and not isinstance(built, CmaEs):
        raise ConfigError(
            f"{node._target_} unpickles data from the database, which may be untrusted",
            key="sampler._target_",
            hint="sampler=cmaes does not",
        )
    return built


def cost_of(cfg: DictConfig) -> str:
    """Return the kind of cost that divides expected gains: seconds, if the budget is in time."""
    timed = cfg.budget.hours is not None or cfg.budget.device_hours is not None
    return "seconds" if timed else "none"


def _is_common(target: str) -> bool:
    """Return whether all trials must be drawn from one common sequence."""
    called = locate(target)
    return isinstance(called, type) and issubclass(called, GridSampler | QMCSampler)


def is_cmaes(target: str) -> bool:
    """Return whether a sampler is CMA-ES, which supports only a single objective."""
    called = locate(target)
    return isinstance(called, type) and issubclass(called, CmaEsSampler)


@functools.lru_cache(8)
def is_small(space: Space) -> bool:
    """Return whether all configurations can be listed, so that a search may exhaust the space."""
    return encoding.of_space(space).grid() is not None
