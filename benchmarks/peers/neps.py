"""NePS by its own ask and tell."""

from collections.abc import Callable
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.simulator import Job


class Neps:
    """One of ``neps.algorithms`` with its defaults; promoted configurations go on."""

    def __init__(self, algorithm: str, task: Task, seed: int) -> None:
        import neps
        import numpy as np
        import torch

        np.random.seed(seed)  # NePS draws from the global streams
        torch.manual_seed(seed)
        self.optimizer = neps.AskAndTell(getattr(neps.algorithms, algorithm)(space(task)))
        self.jobs: dict[str, Job] = {}
        self.asked: dict[int, Any] = {}

    def next(self) -> Job:
        trial = self.optimizer.ask()
        params = {name: value for name, value in trial.config.items() if name != "epoch"}
        key = trial.id.split("_")[0]  # `<configuration>_rung_<k>`
        job = self.jobs.setdefault(key, Job(len(self.jobs), params))
        self.asked[job.number] = trial
        return job

    def report(self, job: Job, value: float) -> bool:
        trial = self.asked[job.number]
        if job.epoch < trial.config["epoch"]:
            return False
        self.optimizer.tell(trial, 1 - value / 100)
        return True

    def finish(self, job: Job, value: float) -> None:
        """Told already, at its fidelity."""


def make(algorithm: str) -> Callable[[Task, int], Neps]:
    return lambda task, seed: Neps(algorithm, task, seed)


def space(task: Task) -> Any:
    """A task's space in the words of NePS, with the epochs as its fidelity."""
    import neps

    class Space(neps.PipelineSpace):  # type: ignore[misc]
        epoch = neps.IntegerFidelity(1, task.epochs)

    for name, d in task.space.items():
        assert isinstance(d, FloatDistribution | IntDistribution)
        make = neps.Integer if isinstance(d, IntDistribution) else neps.Float
        setattr(Space, name, make(d.low, d.high, log=d.log))
    return Space()
