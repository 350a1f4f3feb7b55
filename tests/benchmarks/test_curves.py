import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import LCBENCH_SPACE, TASKSET_SPACE, LCBench, Task, TaskSet, decode, encode
from benchmarks.search import TASKSET

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "curves"
RECORDED = Path(os.environ.get("TUNER_CURVES", BESIDE)) / "lcbench"


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=7, max_size=7))
def test_every_point_of_the_cube_is_a_configuration(point):
    params = decode(np.array(point), LCBENCH_SPACE)
    for name, d in LCBENCH_SPACE.items():
        assert d.low <= params[name] <= d.high
        assert isinstance(params[name], int) is isinstance(d, IntDistribution)


def test_integers_have_equal_shares_of_the_cube_and_logarithms_are_even():
    space = {"n": IntDistribution(1, 5), "x": FloatDistribution(1e-4, 1.0, log=True)}
    drawn = [decode(np.array([u, u]), space) for u in (np.arange(1000) + 0.5) / 1000]
    assert np.bincount([p["n"] for p in drawn])[1:].tolist() == [200] * 5
    assert np.mean([p["x"] < 1e-2 for p in drawn]) == pytest.approx(0.5, abs=0.002)


def test_regret_is_one_where_ten_random_trainings_are_expected_to_end():
    task = Task("t", {}, 1, lambda params: np.zeros(1), best=90.0, scale=4.0)
    assert task.regret(np.array([90.0, 86.0])).tolist() == [0.0, 1.0]


@pytest.fixture
def lcbench(tmp_path):
    pytest.importorskip("onnxruntime")
    if not RECORDED.exists():
        pytest.skip(f"no recorded curves at {RECORDED}; TUNER_CURVES names another folder")
    return LCBench(RECORDED, tmp_path)


def test_the_surrogate_gives_a_curve_for_any_configuration(lcbench):
    middle = decode(np.full(7, 0.5), LCBENCH_SPACE)
    code = lcbench.codes["3945"]
    both = lcbench.curves(code, [middle, {**middle, "learning_rate": 1e-4}])
    assert both.shape == (2, 51)
    assert ((both > 0) & (both <= 100)).all()
    assert not np.allclose(both[0], both[1])
    assert np.allclose(lcbench.curves(code, [middle])[0], both[0], rtol=1e-4)


def test_the_normalisation_is_read_again(lcbench):
    (lcbench.cache / "lcbench-3945.json").write_text("[97.0, 2.0]")
    task = lcbench.task("3945")
    assert (task.best, task.scale, task.epochs) == (97.0, 2.0, 51)
    curve = task.curve(decode(np.full(7, 0.5), LCBENCH_SPACE))
    assert curve is task.curve(decode(np.full(7, 0.5), LCBENCH_SPACE))  # asked once


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=8, max_size=8))
def test_a_point_of_the_cube_comes_back_from_its_configuration(point):
    params = decode(np.array(point), TASKSET_SPACE)
    assert encode(params, TASKSET_SPACE) == pytest.approx(np.array(point), abs=1e-9)


def recorded(rate, beta1, losses):
    rest = ("beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")
    hp = {"learning_rate": rate, "beta1": beta1, **dict.fromkeys(rest, 1e-6)}
    return {"hp": hp, "valid": {"loss": losses}}


def test_a_table_answers_with_the_nearest_record_and_what_diverged_is_its_worst(tmp_path):
    records = [recorded(1e-3, 0.9, [2.0, 1.0]), recorded(1.0, 0.9, [3.0, None])]
    (tmp_path / "t.json").write_text(json.dumps(records))
    task = TaskSet(tmp_path).task("t")
    asked = {name: d.low for name, d in TASKSET_SPACE.items()} | {"1 - beta1": 0.1}
    assert task.curve(asked | {"learning_rate": 2e-3}).tolist() == [-2.0, -1.0]
    assert task.curve(asked | {"learning_rate": 9.0}).tolist() == [-3.0, -3.0]
    assert (task.epochs, task.best) == (2, -1.0)
    assert task.curve(asked | {"learning_rate": 2e-3}).tolist() == [-2.0, -1.0]  # goes on with it


def test_a_search_of_a_table_never_meets_a_record_twice(tmp_path):
    records = [recorded(1e-3, 0.9, [2.0]), recorded(1.0, 0.9, [3.0])]
    (tmp_path / "t.json").write_text(json.dumps(records))
    task = TaskSet(tmp_path).task("t")
    asked = {name: d.low for name, d in TASKSET_SPACE.items()} | {"1 - beta1": 0.1}
    found = [task.curve(asked | {"learning_rate": rate})[0] for rate in (2e-3, 1e-3)]
    assert found == [-2.0, -3.0]


@pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded curves at {RECORDED}")
def test_every_recorded_configuration_has_its_own_curve():
    name = TASKSET[0]
    task = TaskSet(RECORDED.parent / "taskset").task(name)
    records = json.loads((RECORDED.parent / "taskset" / f"{name}.json").read_text())
    for record in records[:20]:
        params = {f"1 - {k}" if k.startswith("beta") else k: v for k, v in record["hp"].items()}
        params = {k: 1 - v if k.startswith("1 - ") else v for k, v in params.items()}
        assert task.curve(params)[0] == -record["valid"]["loss"][0]
    assert task.regret(np.array([task.best])).tolist() == [0.0]
