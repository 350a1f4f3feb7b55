"""SMAC3's multi-fidelity facade."""

import tempfile
from collections.abc import Callable
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.simulator import Job


class MultiFidelity:
    """Hyperband over a random forest, with its defaults, by ask and tell.

    A configuration that is promoted goes on from where it stood, which SMAC itself leaves to the
    target function.
    """

    def __init__(self, task: Task, seed: int) -> None:
        from smac import MultiFidelityFacade, Scenario

        scenario = Scenario(
            configuration_space(task, seed),
            n_trials=10**6,
            min_budget=1,
            max_budget=task.epochs,
            deterministic=True,
            seed=seed,
            output_directory=tempfile.mkdtemp(prefix="smac-"),
        )
        self.facade = MultiFidelityFacade(
            scenario, lambda config, seed, budget: 0.0, overwrite=True, logging_level=40
        )
        self.jobs: dict[Any, Job] = {}
        self.asked: dict[int, Any] = {}

    def next(self) -> Job:
        info = self.facade.ask()
        job = self.jobs.setdefault(info.config, Job(len(self.jobs), dict(info.config)))
        self.asked[job.number] = info
        return job

    def report(self, job: Job, value: float) -> bool:
        from smac.runhistory import TrialValue

        info = self.asked[job.number]
        if job.epoch < round(info.budget):
            return False
        self.facade.tell(info, TrialValue(cost=-value))
        return True

    def finish(self, job: Job, value: float) -> None:
        """Told already, at its budget."""


def configuration_space(task: Task, seed: int) -> Any:
    """A task's space in the words of ConfigSpace."""
    from ConfigSpace import ConfigurationSpace, Float, Integer

    space = ConfigurationSpace(seed=seed)
    for name, d in task.space.items():
        assert isinstance(d, FloatDistribution | IntDistribution)
        make: Callable[..., Any] = Integer if isinstance(d, IntDistribution) else Float
        space.add(make(name, (d.low, d.high), log=d.log))
    return space
