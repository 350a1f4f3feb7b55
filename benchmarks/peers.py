"""Other optimisers with their own schedulers, fed from the same curves by ``search.py``.

Each is a contender where it can be imported; they are no dependencies of ours, so that each runs
in an environment of its own: ``python -m benchmarks.search --only "Ray Tune (ASHA, Optuna)"``.
"""

import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.simulator import Job, Strategy


class RayTune:
    """ASHA with its defaults over ``OptunaSearch``, asked as Ray's controller would."""

    def __init__(self, task: Task, seed: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler
        from ray.tune.search.optuna import OptunaSearch

        self.search = OptunaSearch(dict(task.space), metric="value", mode="max", seed=seed)
        self.scheduler = AsyncHyperBandScheduler(metric="value", mode="max", max_t=task.epochs)
        self.trials: dict[int, Any] = {}

    def next(self) -> Job:
        number = len(self.trials)
        params = self.search.suggest(str(number))
        trial = self.trials[number] = SimpleNamespace(trial_id=str(number))
        self.scheduler.on_trial_add(None, trial)
        return Job(number, params)

    def report(self, job: Job, value: float) -> bool:
        trial = self.trials[job.number]
        result = {"training_iteration": job.epoch, "value": value}
        self.search.on_trial_result(trial.trial_id, result)
        stop = self.scheduler.on_trial_result(None, trial, result) == self.scheduler.STOP
        if stop:
            self._end(trial, result)
        return stop

    def finish(self, job: Job, value: float) -> None:
        """Ray's scheduler has stopped it already, at ``max_t``."""

    def _end(self, trial: Any, result: dict[str, Any]) -> None:
        self.scheduler.on_trial_complete(None, trial, result)
        self.search.on_trial_complete(trial.trial_id, result)


class Smac:
    """SMAC3's multi-fidelity facade (Hyperband over a random forest) by ask and tell.

    A configuration that is promoted goes on from where it stood, which SMAC itself leaves to the
    target function.
    """

    def __init__(self, task: Task, seed: int) -> None:
        from ConfigSpace import ConfigurationSpace, Float, Integer
        from smac import MultiFidelityFacade, Scenario

        space = ConfigurationSpace(seed=seed)
        for name, d in task.space.items():
            assert isinstance(d, FloatDistribution | IntDistribution)
            make: Callable[..., Any] = Integer if isinstance(d, IntDistribution) else Float
            space.add(make(name, (d.low, d.high), log=d.log))
        scenario = Scenario(
            space,
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


PEERS: dict[str, Callable[[Task, int], Strategy]] = {
    "Ray Tune (ASHA, Optuna)": RayTune,
    "SMAC3 (multi-fidelity)": Smac,
}
LIMITS = {"Ray Tune (ASHA, Optuna)": 40, "SMAC3 (multi-fidelity)": 10}
"""Full trainings after which a peer is stopped, for its proposals take long."""
