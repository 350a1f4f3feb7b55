"""Check values that have the right type but are invalid, alone or in combination."""

from collections.abc import Iterator

from omegaconf import DictConfig

from tuner.config.directories import misnamed
from tuner.config.lookup import at
from tuner.config.types import mistake
from tuner.errors import Mistake

FALLING = {"loss", "train_loss", "mse", "mae"}
"""Metrics that are never maximised."""


def mistakes(cfg: DictConfig) -> list[Mistake]:
    """Return the errors in the values of a configuration, each with a hint."""
    return [*_named(cfg), *_metric(cfg), *_aims(cfg), *_ends(cfg), *_workers(cfg)]


def _named(cfg: DictConfig) -> Iterator[Mistake]:
    seed = at(cfg, "seed")
    if not isinstance(seed, int) or isinstance(seed, bool):
        yield mistake("seed", int, seed)
    name = at(cfg, "study.name")
    if isinstance(name, str):
        yield from misnamed("study.name", name)
    for key in ("study.dir", "study.metric", "study.mirror", "storage.artifacts"):
        if at(cfg, key) == "":
            yield Mistake(key, "is empty", "omit it, or give a value")


def _metric(cfg: DictConfig) -> Iterator[Mistake]:
    metric, direction = (at(cfg, f"study.{key}") for key in ("metric", "direction"))
    if metric in FALLING and direction == "maximize":
        told = f"lower values of {metric} are better"
        yield Mistake("study.metric", told, "study.direction=minimize")


def _aims(cfg: DictConfig) -> Iterator[Mistake]:
    """Yield errors for objectives that contradict the metric or another setting."""
    metric, direction = (at(cfg, f"study.{key}") for key in ("metric", "direction"))
    others, limits = (at(cfg, f"study.{key}") for key in ("objectives", "constraints"))
    if direction == "maximize" and isinstance(limits, DictConfig) and metric in limits:
        told = f"{metric} is to be maximised, but constraints are upper limits"
        yield Mistake("study.constraints", told, "leave it out here")
    if not isinstance(others, DictConfig):
        return
    if others.get(metric, direction) != direction:
        told = f"{metric} is the metric, whose direction is study.direction={direction}"
        yield Mistake("study.objectives", told, "leave it out here")
    several = any(name != metric for name in others)
    if several and at(cfg, "budget.stop_when") == "gain_below_noise":
        yield Mistake("budget.stop_when", "gain_below_noise supports one objective only", "never")


def _ends(cfg: DictConfig) -> Iterator[Mistake]:
    """Check that the search has an end."""
    limits = ("study.n_trials", "budget.epochs", "budget.hours", "budget.device_hours")
    if all(at(cfg, limit) is None for limit in limits):
        told = "the search would never end"
        yield Mistake("study.n_trials", told, "set a number, or for example budget.hours=1")


def _workers(cfg: DictConfig) -> Iterator[Mistake]:
    beat, grace = (at(cfg, f"worker.{key}") for key in ("heartbeat", "grace"))
    if all(isinstance(v, int | float) for v in (beat, grace)) and grace <= 2 * beat:
        yield Mistake("worker.grace", f"must be more than 2 heartbeats, got {grace}")
    together = at(cfg, "worker.concurrency")
    if isinstance(together, int) and together > 1 and at(cfg, "objective.trainer.fused") == 1:
        told = f"{together} trials in one process would share PyTorch's global random generators"
        hint = (
            f"trainer.fused={together} gives each its own, or start processes with launch.workers=…"
        )
        yield Mistake("worker.concurrency", told, hint)
