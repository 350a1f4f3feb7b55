import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from benchmarks import strategies
from benchmarks.curves import Task
from benchmarks.simulator import simulate

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def curve(params):
    return (1 - (params["x"] - 0.3) ** 2) * np.arange(1, 10) / 9


TASK = Task("toy", SPACE, 9, curve, best=1.0, scale=1.0)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", strategies.CONTENDERS)
def test_every_contender_searches_and_learns_its_budget(name):
    trace = simulate(TASK, strategies.CONTENDERS[name](TASK, 0), budget=150, workers=4, seed=0)
    assert trace.completed > 0
    assert trace.best[-1] > 0.9


def test_of_the_first_epochs_only_the_best_go_on():
    strategy = strategies.CONTENDERS["random, 3 epochs each"](TASK, 0)
    simulate(TASK, strategy, budget=400, workers=4, seed=0)
    pruned = [t for t in strategy.study.trials if t.state == TrialState.PRUNED]
    assert {t.last_step for t in pruned} == {3}
    complete = [t for t in strategy.study.trials if t.state == TrialState.COMPLETE]
    assert max(t.values[0] for t in complete) > max(3 * t.intermediate_values[3] for t in pruned)


def test_ours_are_the_configurations_own():
    assert "width" in strategies.settings("sampler/tpe")
    assert not strategies.settings("sampler/tpe").keys() & {"_target_", "seed"}
    assert strategies.digest("tuner") != strategies.digest("random") == ""
