"""Syne Tune's asynchronous schedulers, driven as its ``Tuner`` (0.16) drives them."""

import datetime
from collections.abc import Callable
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.simulator import Job


class SyneTune:
    """A scheduler of ``syne_tune.optimizer.baselines`` with its defaults, by name."""

    def __init__(self, scheduler: str, task: Task, seed: int) -> None:
        import numpy as np
        from syne_tune.optimizer import baselines

        np.random.seed(seed)  # some searchers draw from NumPy's global stream
        self.scheduler = getattr(baselines, scheduler)(
            {name: domain(d) for name, d in task.space.items()},
            metric="value",
            do_minimize=False,
            time_attr="epoch",
            max_t=task.epochs,
            random_seed=seed,
        )
        self.trials: dict[int, Any] = {}

    def next(self) -> Job:
        from syne_tune.backend.trial_status import Trial

        number, config = len(self.trials), dict(self.scheduler.suggest().config)
        trial = self.trials[number] = Trial(number, config, datetime.datetime.now())
        self.scheduler.on_trial_add(trial)
        return Job(number, config)

    def report(self, job: Job, value: float) -> bool:
        trial = self.trials[job.number]
        decision = self.scheduler.on_trial_result(trial, {"value": value, "epoch": job.epoch})
        if decision == "STOP":
            self.scheduler.on_trial_remove(trial)
        return bool(decision != "CONTINUE")

    def finish(self, job: Job, value: float) -> None:
        """Stopped by the scheduler already, at ``max_t``."""


def make(scheduler: str) -> Callable[[Task, int], SyneTune]:
    return lambda task, seed: SyneTune(scheduler, task, seed)


def domain(d: Any) -> Any:
    """An Optuna distribution as Syne Tune writes it."""
    from syne_tune import config_space

    if isinstance(d, IntDistribution):
        return (config_space.lograndint if d.log else config_space.randint)(d.low, d.high)
    assert isinstance(d, FloatDistribution)
    return (config_space.loguniform if d.log else config_space.uniform)(d.low, d.high)
