import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from benchmarks.curves import decode, encode
from benchmarks.search import TASKSET
from benchmarks.simulator import OptunaStrategy, simulate
from benchmarks.tables import ALEXNET_SPACE, TASKSET_SPACE, AlexNet, TaskSet
from tests.benchmarks.test_curves import CURVES


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=8, max_size=8))
def test_a_point_of_the_cube_comes_back_from_its_configuration(point):
    params = decode(np.array(point), TASKSET_SPACE)
    assert encode(params, TASKSET_SPACE) == pytest.approx(np.array(point), abs=1e-9)


def adam(rate, beta1, losses):
    rest = ("beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")
    hp = {"learning_rate": rate, "beta1": beta1, **dict.fromkeys(rest, 1e-6)}
    return {"hp": hp, "valid": {"loss": losses}}


def test_a_table_answers_with_the_nearest_record_and_what_diverged_is_its_worst(tmp_path):
    records = [adam(1e-3, 0.9, [2.0, 1.0]), adam(1.0, 0.9, [3.0, None])]
    (tmp_path / "t.json").write_text(json.dumps(records))
    task = TaskSet(tmp_path).task("t")
    asked = {name: d.low for name, d in TASKSET_SPACE.items()} | {"1 - beta1": 0.1}
    assert task.curve(asked | {"learning_rate": 2e-3}).tolist() == [-2.0, -1.0]
    assert task.curve(asked | {"learning_rate": 9.0}).tolist() == [-3.0, -3.0]
    assert (task.epochs, task.best) == (2, -1.0)
    assert task.curve(asked | {"learning_rate": 2e-3}).tolist() == [-2.0, -1.0]  # goes on with it


def test_a_search_of_a_table_never_meets_a_record_twice(tmp_path):
    records = [adam(1e-3, 0.9, [2.0]), adam(1.0, 0.9, [3.0])]
    (tmp_path / "t.json").write_text(json.dumps(records))
    task = TaskSet(tmp_path).task("t")
    asked = {name: d.low for name, d in TASKSET_SPACE.items()} | {"1 - beta1": 0.1}
    found = [task.recorded(asked | {"learning_rate": rate}) for rate in (2e-3, 1e-3)]
    assert [params["learning_rate"] for params in found] == [1e-3, 1.0]
    assert [task.curve(params)[0] for params in found] == [-2.0, -3.0]


@pytest.mark.skipif(not CURVES.exists(), reason=f"no recorded curves at {CURVES}")
def test_every_recorded_configuration_has_its_own_curve():
    name = TASKSET[0]
    task = TaskSet(CURVES / "taskset").task(name)
    records = json.loads((CURVES / "taskset" / f"{name}.json").read_text())
    for record in records[:20]:
        params = {f"1 - {k}" if k.startswith("beta") else k: v for k, v in record["hp"].items()}
        params = {k: 1 - v if k.startswith("1 - ") else v for k, v in params.items()}
        assert task.curve(params)[0] == -record["valid"]["loss"][0]
    assert task.regret(task.best) == 0.0


def alexnet(number, lr, curve, epochs=3):
    """One line of the table; each epoch takes ten seconds."""
    points = [{"top_1": top, "time": 10.0 * (k + 1)} for k, top in enumerate(curve)]
    diverged = len(curve) < epochs
    settings = {"epochs": epochs, "batch_size": 256, "lr": lr, "lr_peak_epoch": 1}
    rest = {"momentum": 0.9, "weight_decay": 1e-4, "label_smoothing": 0.0}
    told = {"iteration": number, "nan_train_loss": diverged, "learning_curve": points}
    return json.dumps({**settings, **rest, **told})


@pytest.fixture
def small(tmp_path):
    lines = [alexnet(k, 0.01 * (k + 1), [0.1, 0.2, 0.3 + k / 100]) for k in range(5)]
    lines += [alexnet(5, 30.0, [0.1]), alexnet(6, 40.0, [], epochs=4)]
    (tmp_path / "alexnet_tuning.results.jsonl").write_text("\n".join(lines))
    return AlexNet(tmp_path).task()


def test_divergence_ends_a_curve_and_takes_an_epoch(small):
    diverged = [small.recorded(encoded(lr)) for lr in (30.0, 40.0)]
    assert [str(small.curve(params)) for params in diverged] == ["[0.1 nan]", "[nan]"]
    assert [small.seconds(params).tolist() for params in diverged] == [[10.0, 20.0], [10.0]]
    assert [small.epochs_of(params) for params in diverged] == [3, 4]
    assert (small.epochs, small.best, small.full) == (3, pytest.approx(0.34), 30.0)


def encoded(lr):
    middle = {"epochs": 3, "batch_size": 256, "lr_peak": 0.3, "momentum": 0.9}
    return {**middle, "lr": lr, "weight_decay": 1e-4, "label_smoothing": 0.0}


def test_trials_are_the_records_and_what_diverged_is_pruned_as_such(small):
    strategy = OptunaStrategy(small, RandomSampler(seed=0), NopPruner())
    trace = simulate(small, strategy, budget=18, workers=1, seed=0)
    trials = strategy.study.get_trials()[:7]
    assert sorted(t.params["lr"] for t in trials) == [*(0.01 * k for k in range(1, 6)), 30.0, 40.0]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert {(t.params["lr"], t.user_attrs["reason_kind"]) for t in pruned} == {
        (30.0, "diverged"),
        (40.0, "diverged"),
    }
    assert trace.completed == 5
    assert trace.best[-1] == pytest.approx(0.34)


def test_time_is_spent_instead_of_epochs(small):
    strategy = OptunaStrategy(small, RandomSampler(seed=0), NopPruner())
    trace = simulate(replace(small, timed=True), strategy, budget=60.0, workers=2, seed=0)
    assert trace.spent.tolist() == [10.0 * k for k in range(1, 7)]
    ended = [t.duration for t in strategy.study.get_trials(states=[TrialState.COMPLETE])]
    assert ended == [timedelta(seconds=30)] * trace.completed
    assert trace.best_after(9.0) == -np.inf
    assert trace.best_after(60.0) == trace.best[-1]


@pytest.mark.skipif(not CURVES.exists(), reason=f"no recorded curves at {CURVES}")
def test_the_whole_table_is_read():
    task = AlexNet(CURVES / "alexnet").task()
    assert task.best == pytest.approx(0.58558)
    assert 55 < task.epochs < 65
    assert set(ALEXNET_SPACE) == set(task.space)
