"""Ray Tune's schedulers and searchers, asked as its controller (2.60) would ask them."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import Task
from benchmarks.simulator import Job

METRIC = {"metric": "value", "mode": "max"}


@dataclass(eq=False)
class Trial:
    """What schedulers read of Ray's ``Trial``; they keep it in dictionaries."""

    trial_id: str
    job: Job
    status: str = "PENDING"
    is_saving: bool = False


class Controller:
    """The part of ``TuneController`` that schedulers see, without actors and checkpoints.

    A trial that the scheduler wants to go on with comes before a new one; results go to the
    scheduler first, and to the searcher unless the trial is stopped by them.
    """

    def __init__(self, search: Any, scheduler: Any) -> None:
        self.search = search
        self.scheduler = scheduler
        self.search_alg = SimpleNamespace(searcher=search)
        self.trials: list[Trial] = []

    def next(self) -> Job:
        trial = self.scheduler.choose_trial_to_run(self) or self._new()
        trial.status = "RUNNING"
        return trial.job

    def _new(self) -> Trial:
        number = len(self.trials)
        trial = Trial(str(number), Job(number, self.search.suggest(str(number))))
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)
        return trial

    def report(self, job: Job, value: float) -> bool:
        trial = self.trials[job.number]
        result = {"training_iteration": job.epoch, "value": value}
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == "STOP":
            self.scheduler.on_trial_complete(self, trial, result)
            self.search.on_trial_complete(trial.trial_id, result)
            trial.status = "TERMINATED"
        else:
            self.search.on_trial_result(trial.trial_id, result)
            trial.status = "PAUSED" if decision == "PAUSE" else trial.status
        return bool(decision != "CONTINUE")

    def finish(self, job: Job, value: float) -> None:
        """Stopped or paused by the scheduler already."""

    def get_trials(self) -> list[Trial]:
        return self.trials

    def has_resources_for_trial(self, trial: Trial) -> bool:
        return True

    def stop_trial(self, trial: Trial) -> None:
        """A scheduler ends another trial than the one that reports: a paused one."""
        if trial.status != "TERMINATED":
            self.scheduler.on_trial_remove(self, trial)
            self.search.on_trial_complete(trial.trial_id)
            trial.status = "TERMINATED"


def asha(task: Task, seed: int) -> Controller:
    """ASHA with its defaults (grace 1, factor 4, one bracket) over ``OptunaSearch``."""
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(dict(task.space), seed=seed, **METRIC)
    return Controller(search, AsyncHyperBandScheduler(max_t=task.epochs, **METRIC))


def hyperband(task: Task, seed: int) -> Controller:
    """HyperBand with its defaults (factor 3) over random search, Ray's default searcher."""
    from ray.tune.schedulers import HyperBandScheduler

    return Controller(Random(task, seed), HyperBandScheduler(max_t=task.epochs, **METRIC))


def bohb(task: Task, seed: int) -> Controller:
    """``TuneBOHB`` under ``HyperBandForBOHB``, both with their defaults."""
    import numpy as np
    from ray.tune.schedulers.hb_bohb import HyperBandForBOHB
    from ray.tune.search.bohb import TuneBOHB

    from benchmarks.peers.smac import configuration_space

    np.random.seed(seed)  # HpBandSter draws from NumPy's global stream
    search = TuneBOHB(configuration_space(task, seed), seed=seed, **METRIC)
    return Controller(search, HyperBandForBOHB(max_t=task.epochs, **METRIC))


class Random:
    """Ray's ``BasicVariantGenerator``, which draws each parameter from its own domain."""

    def __init__(self, task: Task, seed: int) -> None:
        import numpy as np

        self.domains = {name: domain(d) for name, d in task.space.items()}
        self.stream = np.random.RandomState(seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {name: d.sample(random_state=self.stream) for name, d in self.domains.items()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None) -> None:
        pass


def domain(d: Any) -> Any:
    """An Optuna distribution as Ray writes it; its integers leave the upper end out."""
    from ray import tune

    if isinstance(d, IntDistribution):
        return (tune.lograndint if d.log else tune.randint)(d.low, d.high + 1)
    assert isinstance(d, FloatDistribution)
    return (tune.loguniform if d.log else tune.uniform)(d.low, d.high)
