"""Simulate asynchronous workers on recorded curves: the order of events without the training.

Each worker runs one epoch at a time. Epochs of one configuration last one unit of time, or their
recorded seconds, with a variation of a tenth between configurations, so that reports arrive one by
one in varying order.
"""

import copy
import heapq
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

from benchmarks.curves import Curve, Params, Task, decode
from tuner.storage.reason_kind import Kind
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
        """Record the value after ``job.epoch`` epochs; return True to stop or pause the job.

        The value NaN tells that the job has diverged, which ends it.
        """
        ...

    def finish(self, job: Job, value: float) -> None:
        """Record a job that has run all of its epochs; ``value`` is its last."""
        ...


@dataclass(frozen=True)
class Trace:
    """The results of a search after each epoch run by any of the workers."""

    best: Curve
    """Best value reported so far; minus infinity before the first."""
    final: Curve
    """Best final value of completed jobs so far; minus infinity before the first."""
    spent: Curve
    """Epochs, or seconds, spent by all workers together."""
    jobs: int
    completed: int

    def best_after(self, budget: float) -> float:
        """Return the best value of the epochs that ended within a budget."""
        k = int(np.searchsorted(self.spent, budget + 1e-9, side="right")) - 1
        return float(self.best[k]) if k >= 0 else -math.inf


def simulate(task: Task, strategy: Strategy, *, budget: float, workers: int, seed: int) -> Trace:
    """Run ``strategy`` on ``task`` until a budget is spent: of epochs, or of seconds if timed."""
    pace = np.random.default_rng(seed)
    rows: list[tuple[float, float, float]] = []
    seen = done = -math.inf
    spent = 0.0
    numbers: set[int] = set()
    completed = 0
    events: list[tuple[float, int, Job, Curve, Curve, float]] = []

    def start(now: float, worker: int) -> None:
        job = strategy.next()
        numbers.add(job.number)
        unit = float(pace.uniform(0.9, 1.1))
        curve = task.curve(job.params)
        costs = _costs(task, job.params, len(curve))
        end = now + unit * costs[job.epoch]
        heapq.heappush(events, (end, worker, job, curve, costs, unit))

    for worker in range(workers):
        start(0.0, worker)
    while spent < budget:
        now, worker, job, curve, costs, unit = heapq.heappop(events)
        value = float(curve[job.epoch])
        spent += float(costs[job.epoch])
        job.epoch += 1
        stop = strategy.report(job, value)
        if not math.isfinite(value):
            stop = True
        else:
            seen = max(seen, value)
            if job.epoch == len(curve):
                strategy.finish(job, value)
                done, completed, stop = max(done, value), completed + 1, True
        rows.append((seen, done, spent))
        if stop:
            start(now, worker)
        else:
            after = now + unit * costs[job.epoch]
            heapq.heappush(events, (after, worker, job, curve, costs, unit))
    best, final, when = np.array(rows).T
    return Trace(best, final, when, len(numbers), completed)


def _costs(task: Task, params: Params, epochs: int) -> Curve:
    """Return the cost of each epoch: 1, or its seconds."""
    if not task.timed:
        return np.ones(epochs)
    assert task.seconds is not None
    return np.diff(task.seconds(params), prepend=0.0)


class OptunaStrategy:
    """Any Optuna sampler and pruner, as ``study.optimize`` would use them.

    The ``first`` configurations are random, and the same for all samplers with a seed, which makes
    the differences between them less noisy.
    """

    def __init__(
        self, task: Task, sampler: Any, pruner: Any, *, seed: int = 0, first: int = 0
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=f"{task.name} {seed}",  # a pruner may draw by it
            direction="maximize",
            sampler=sampler,
            pruner=pruner,
        )
        for point in np.random.default_rng(seed).random((first, len(task.space))):
            self.study.enqueue_trial(decode(point, task.space))
        self.task = task
        self.trials: dict[int, Any] = {}
        self.optuna = optuna

    def next(self) -> Job:
        trial = self.study.ask(dict(self.task.space))
        self.trials[trial.number] = trial
        params = self.task.recorded(trial.params)
        storage = self.study._storage
        for name, value in params.items():
            if value != trial.params[name]:
                d = self.task.space[name]
                storage.set_trial_param(trial._trial_id, name, d.to_internal_repr(value), d)
        storage.set_trial_system_attr(trial._trial_id, LENGTH, self.task.epochs_of(params))
        return Job(trial.number, params)

    def report(self, job: Job, value: float) -> bool:
        trial = self.trials[job.number]
        trial.report(value, job.epoch)
        diverged = not math.isfinite(value)
        if diverged:
            trial.set_user_attr("reason_kind", Kind.DIVERGED)
        if diverged or (job.epoch < self.task.epochs_of(job.params) and trial.should_prune()):
            self._tell(job, state=self.optuna.trial.TrialState.PRUNED)
            return True
        return False

    def finish(self, job: Job, value: float) -> None:
        self._tell(job, values=value)

    def _tell(self, job: Job, **outcome: Any) -> None:
        """End a trial, which has taken the recorded seconds, if there are any."""
        trial = self.trials.pop(job.number)
        self.study.tell(trial, **outcome)
        if self.task.seconds is not None:
            ended = copy.copy(self.study._storage.get_trial(trial._trial_id))
            seconds = float(self.task.seconds(job.params)[job.epoch - 1])
            ended.datetime_complete = ended.datetime_start + timedelta(seconds=seconds)
            self.study._storage._set_trial(trial._trial_id, ended)
