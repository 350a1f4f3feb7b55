import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner, ThresholdPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from benchmarks.curves import Task
from benchmarks.simulator import Job, OptunaStrategy, simulate


def curve(params):
    return params["x"] * np.arange(1, 5)


TASK = Task("lines", {"x": FloatDistribution(0, 1)}, 4, curve, best=4.0, scale=1.0)


class Halves:
    """Pauses each configuration after its second epoch, and thaws it after the next one's."""

    def __init__(self):
        self.paused, self.reports, self.finished, self.started = [], [], [], 0

    def next(self):
        if len(self.paused) > 1:
            return self.paused.pop(0)
        self.started += 1
        return Job(self.started - 1, {"x": self.started / 10})

    def report(self, job, value):
        self.reports.append((job.number, job.epoch, value))
        if job.epoch == 2:
            self.paused.append(job)
        return job.epoch == 2

    def finish(self, job, value):
        self.finished.append((job.number, value))


def test_a_paused_configuration_goes_on_where_it_stood():
    strategy = Halves()
    trace = simulate(TASK, strategy, budget=12, workers=1, seed=0)
    mine = [(epoch, value) for number, epoch, value in strategy.reports if number == 0]
    assert mine == [(epoch, pytest.approx(0.1 * epoch)) for epoch in (1, 2, 3, 4)]
    assert strategy.finished[0] == (0, pytest.approx(0.4))
    assert trace.jobs == strategy.started
    assert trace.completed == len(strategy.finished)


def test_the_trace_counts_every_epoch_of_all_workers():
    strategy = Halves()
    trace = simulate(TASK, strategy, budget=30, workers=3, seed=0)
    assert len(strategy.reports) == len(trace.best) == 30
    values = [value for _, _, value in strategy.reports]
    assert trace.best.tolist() == np.maximum.accumulate(values).tolist()
    assert trace.final[0] == -np.inf
    assert trace.final[-1] == max(value for _, value in strategy.finished)


def test_workers_report_in_turn_and_repeatably():
    def orders(seed):
        strategy = Halves()
        simulate(TASK, strategy, budget=30, workers=3, seed=seed)
        return [number for number, _, _ in strategy.reports]

    assert set(orders(0)[:3]) == {0, 1, 2}
    assert orders(0) == orders(0)
    assert len({tuple(orders(seed)) for seed in range(4)}) > 1


def test_optunas_parts_are_asked_as_optimize_would():
    strategy = OptunaStrategy(TASK, RandomSampler(seed=0), ThresholdPruner(lower=0.5))
    simulate(TASK, strategy, budget=40, workers=2, seed=0)
    trials = strategy.study.get_trials()
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    assert pruned
    assert complete
    assert all(t.params["x"] < 0.5 and t.last_step == 1 for t in pruned)
    assert all(t.params["x"] >= 0.5 and t.value == t.params["x"] * 4 for t in complete)
    assert sum(len(t.intermediate_values) for t in trials) == 40
    assert sum(t.state == TrialState.RUNNING for t in trials) == 2


def test_nothing_is_pruned_at_the_last_epoch():
    class Always(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.last_step == 4

    strategy = OptunaStrategy(TASK, RandomSampler(seed=0), Always())
    assert simulate(TASK, strategy, budget=20, workers=2, seed=0).completed >= 4
    strategy = OptunaStrategy(TASK, RandomSampler(seed=0), NopPruner())
    assert simulate(TASK, strategy, budget=20, workers=2, seed=0).completed >= 4
