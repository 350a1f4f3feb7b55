"""Simulate asynchronous workers on recorded curves: the order of events without the training.

Each worker runs one epoch at a time. Epochs of one configuration last one unit of time, with a
variation of a tenth between configurations, so that reports arrive one by one in varying order.
"""

import heapq
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.curves import Curve, Params, Task
from tuner.study.fidelity import LENGTH


@dataclass
class Job:
    """A running configuration; ``epoch`` epochs are done, and a paused one may be resumed."""

    number: int
    params: Params
    epoch: int = 0


class Strategy(Protocol):
    """The interface of a search in the simulator."""

    def next(self) -> Job:
        """Return the job for a free worker: a new one, or one that resumes from ``job.epoch``."""
        ...

    def report(self, job: Job, value: float) -> bool:
        """Record the value after ``job.epoch`` epochs; return True to stop or pause the job."""
        ...

    def finish(self, job: Job, value: float) -> None:
        """Record a job that has run all of its epochs; ``value`` is its last."""
        ...


@dataclass(frozen=True)
class Trace:
    """The results of a search after each epoch spent by all workers together."""

    best: Curve
    """Best value reported so far, one entry per epoch spent."""
    final: Curve
    """Best final value of completed jobs so far; minus infinity before the first."""
    jobs: int
    completed: int


def simulate(task: Task, strategy: Strategy, *, epochs: int, workers: int, seed: int) -> Trace:
    """Run ``strategy`` on ``task`` until ``epochs`` epochs are spent."""
    pace = np.random.default_rng(seed)
    best, final = np.full(epochs, -np.inf), np.full(epochs, -np.inf)
    seen = done = -np.inf
    numbers: set[int] = set()
    completed = 0
    events: list[tuple[float, int, Job, Curve, float]] = []

    def start(now: float, worker: int) -> None:
        job = strategy.next()
        numbers.add(job.number)
        unit = float(pace.uniform(0.9, 1.1))
        heapq.heappush(events, (now + unit, worker, job, task.curve(job.params), unit))

    for worker in range(workers):
        start(0.0, worker)
    for spent in range(epochs):
        now, worker, job, curve, unit = heapq.heappop(events)
        value = float(curve[job.epoch])
        job.epoch += 1
        seen = max(seen, value)
        stop = strategy.report(job, value)
        if job.epoch == len(curve):
            strategy.finish(job, value)
            done, completed, stop = max(done, value), completed + 1, True
        best[spent], final[spent] = seen, done
        if stop:
            start(now, worker)
        else:
            heapq.heappush(events, (now + unit, worker, job, curve, unit))
    return Trace(best, final, len(numbers), completed)


class OptunaStrategy:
    """Any Optuna sampler and pruner, as ``study.optimize`` would use them."""

    def __init__(self, task: Task, sampler: Any, pruner: Any, *, seed: int = 0) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=f"{task.name} {seed}",  # a pruner may draw by it
            direction="maximize",
            sampler=sampler,
            pruner=pruner,
        )
        self.space = dict(task.space)
        self.epochs = task.epochs
        self.trials: dict[int, Any] = {}
        self.optuna = optuna

    def next(self) -> Job:
        trial = self.study.ask(self.space)
        self.trials[trial.number] = trial
        self.study._storage.set_trial_system_attr(trial._trial_id, LENGTH, self.epochs)
        return Job(trial.number, trial.params)

    def report(self, job: Job, value: float) -> bool:
        trial = self.trials[job.number]
        trial.report(value, job.epoch)
        if job.epoch < self.epochs and trial.should_prune():
            self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)
            del self.trials[job.number]
            return True
        return False

    def finish(self, job: Job, value: float) -> None:
        self.study.tell(self.trials.pop(job.number), value)
