import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves import LCBENCH_SPACE, LCBench, Task, decode

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "curves"
CURVES = Path(os.environ.get("TUNER_CURVES", BESIDE))
RECORDED = CURVES / "lcbench"


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
    assert [task.regret(value) for value in (90.0, 86.0)] == [0.0, 1.0]


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
    (lcbench.cache / "lcbench-3945.json").write_text("[97.0, 2.0, 800.0]")
    task = lcbench.task("3945")
    assert (task.best, task.scale, task.full) == (97.0, 2.0, 800.0)
    curve = task.curve(decode(np.full(7, 0.5), LCBENCH_SPACE))
    assert curve is task.curve(decode(np.full(7, 0.5), LCBENCH_SPACE))  # asked once
