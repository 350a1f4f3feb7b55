"""The contenders of ``search.py``: samplers with pruners, each created for a task and a seed."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from benchmarks.curves import Task
from benchmarks.simulator import OptunaStrategy, Strategy
from tuner.algorithms.pruners.rungs import Rungs
from tuner.algorithms.samplers.forest import Forest
from tuner.algorithms.samplers.tpe import Tpe

ROOT = Path(__file__).parent.parent

Make = Callable[[Task, int], Strategy]


class FirstEpochs(BasePruner):
    """Train every trial for ``epochs`` epochs and the best ``top`` so far to the end.

    The baseline of Egelé et al., "The unreasonable effectiveness of early discarding after one
    epoch" (2023), which trains its best three at the end, turned into an anytime method.
    """

    def __init__(self, epochs: int, top: int = 3) -> None:
        self.epochs = epochs
        self.top = top
        self.best: list[float] = []

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        if trial.last_step != self.epochs:
            return False
        mine = trial.intermediate_values[self.epochs]
        self.best = sorted([*self.best, mine])[-self.top :]
        return mine < self.best[0]


FIRST = 8
"""Number of random configurations that all start with: one for each worker."""


def _nop(task: Task) -> BasePruner:
    return NopPruner()


def stock(
    sampler: Callable[[Task, int], BaseSampler], pruner: Callable[[Task], BasePruner] = _nop
) -> Make:
    """Return a strategy with a sampler and a pruner."""

    def make(task: Task, seed: int) -> Strategy:
        return OptunaStrategy(task, sampler(task, seed), pruner(task), seed=seed, first=FIRST)

    return make


def _tpe(task: Task, seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _random(task: Task, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _cmaes(task: Task, seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed)


PRUNERS: Mapping[str, Callable[[Task], BasePruner]] = {
    "median": lambda task: MedianPruner(),
    "percentile 25": lambda task: PercentilePruner(25.0),
    "SHA": lambda task: SuccessiveHalvingPruner(),
    "SHA(3, 3)": lambda task: SuccessiveHalvingPruner(3, 3),
    "Hyperband": lambda task: HyperbandPruner(1, task.epochs, 3),
    "patient median": lambda task: PatientPruner(MedianPruner(), patience=3),
}
"""Optuna's pruners with their defaults, unless a setting is named."""

STOCK: dict[str, Make] = {
    "Optuna 5 default (TPE + median)": stock(_tpe, PRUNERS["median"]),
    "Optuna TPE": stock(_tpe),
    **{f"Optuna TPE + {n}": stock(_tpe, p) for n, p in PRUNERS.items() if n != "median"},
    "random": stock(_random),
    "random + SHA": stock(_random, PRUNERS["SHA"]),
    "random + SHA(3, 3)": stock(_random, PRUNERS["SHA(3, 3)"]),
    **{
        f"random, {n} epoch{'s' * (n > 1)} each": stock(_random, lambda task, n=n: FirstEpochs(n))  # type: ignore[misc]
        for n in (1, 3, 10)
    },
    "CMA-ES": stock(_cmaes),
}


def _tuner(task: Task, seed: int) -> BaseSampler:
    cost = "seconds" if task.timed else "none"  # as sampler.cost=auto
    return Tpe(task.space, seed, **settings("sampler/tpe") | {"cost": cost})


def _costless(task: Task, seed: int) -> BaseSampler:
    return Tpe(task.space, seed, **settings("sampler/tpe") | {"cost": "none"})


def _forest(task: Task, seed: int) -> BaseSampler:
    cost = "seconds" if task.timed else "epochs"
    return Forest(task.space, seed, **settings("sampler/forest") | {"cost": cost})


def _rungs(task: Task) -> BasePruner:
    return Rungs(**settings("pruner/rungs"))


def settings(name: str) -> dict[str, Any]:
    """Return the settings of one of tuner's parts in ``conf/``."""
    found = yaml.safe_load((ROOT / f"conf/{name}.yaml").read_text())
    return {key: value for key, value in found.items() if key not in ("_target_", "seed")}


OURS: dict[str, Make] = {
    "tuner": stock(_tuner, _rungs),
    "tuner, sampler.cost=none": stock(_costless, _rungs),
    "tuner, sampler=forest sampler.cost=epochs": stock(_forest, _rungs),
    "tuner's sampler + SHA(3, 3)": stock(_tuner, PRUNERS["SHA(3, 3)"]),
}
"""tuner's samplers with the settings of ``conf/``, unless others are named."""

PRUNED: dict[str, Make] = {
    "Optuna TPE + tuner's pruner": stock(_tpe, _rungs),
    "random + tuner's pruner": stock(_random, _rungs),
}
"""Other samplers with tuner's pruner."""

CONTENDERS: dict[str, Make] = {**OURS, **PRUNED, **STOCK}

PRUNER_SOURCES = (
    *("conf/pruner/rungs.yaml", "tuner/study/fidelity.py"),
    *("tuner/algorithms/pruners/rungs.py", "tuner/algorithms/pruners/rung_standings.py"),
)
SAMPLER_SOURCES = (
    "conf/sampler/forest.yaml",
    "conf/sampler/tpe.yaml",
    "tuner/algorithms/rung_scores.py",
)


def digest(contender: str) -> str:
    """Return what a contender's results depend on besides its name: the sources of tuner's parts.

    Other results need not be computed again when tuner changes.
    """
    if contender not in OURS and contender not in PRUNED:
        return ""
    found = [ROOT / path for path in PRUNER_SOURCES]
    if contender in OURS:
        found += [ROOT / path for path in SAMPLER_SOURCES]
        found += sorted((ROOT / "tuner/algorithms/samplers").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()
