"""What is compared by ``search.py``: samplers with pruners, each made for a task and a seed."""

from collections.abc import Callable, Mapping

import optuna
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

Make = Callable[[Task, int], Strategy]


class FirstEpochs(BasePruner):
    """Every trial ``epochs`` epochs; the best ``top`` of all so far go on to the end.

    The baseline of Egelé et al., "The unreasonable effectiveness of early discarding after one
    epoch" (2023), which trains its best three at the end, made to answer at any time.
    """

    def __init__(self, epochs: int, top: int = 3) -> None:
        self.epochs = epochs
        self.top = top

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        if trial.last_step != self.epochs:
            return False
        mine = trial.intermediate_values[self.epochs]
        trials = study.get_trials(deepcopy=False)
        better = (t.intermediate_values.get(self.epochs, -float("inf")) > mine for t in trials)
        return sum(better) >= self.top


def stock(
    sampler: Callable[[int], BaseSampler], pruner: Callable[[Task], BasePruner] | None = None
) -> Make:
    """A sampler and a pruner of Optuna's."""

    def make(task: Task, seed: int) -> Strategy:
        return OptunaStrategy(task, sampler(seed), pruner(task) if pruner else NopPruner())

    return make


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _cmaes(seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed)


PRUNERS: Mapping[str, Callable[[Task], BasePruner]] = {
    "median": lambda task: MedianPruner(),
    "percentile 25": lambda task: PercentilePruner(25.0),
    "SHA": lambda task: SuccessiveHalvingPruner(),
    "SHA(3, 3)": lambda task: SuccessiveHalvingPruner(3, 3),
    "Hyperband": lambda task: HyperbandPruner(1, task.epochs, 3),
    "patient median": lambda task: PatientPruner(MedianPruner(), patience=3),
}
"""Optuna's pruners with their defaults, where no setting is named."""

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
    "CMA-ES + median": stock(_cmaes, PRUNERS["median"]),
}


CONTENDERS: dict[str, Make] = {**STOCK}


def digest(contender: str) -> str:
    """What a contender's results depend on, beside its name: our sources, for ours."""
    return ""
