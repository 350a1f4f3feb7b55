import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.algorithms.samplers.encoding import is_known, of_distributions, of_space
from tuner.space.distributions import Categorical, Float, Int
from tuner.space.tree import Branch, Parameter, Space


def texts(*options: str) -> Categorical:
    return Categorical(options, options)


SGD = Branch((
    Parameter("lr", Float(1e-3, 1.0, log=True), (("opt", "sgd"),)),
    Parameter(
        "nesterov",
        texts("yes", "no"),
        (("opt", "sgd"),),
        {"yes": Branch((Parameter("m", Int(1, 4), (("opt", "sgd"), ("nesterov", "yes"))),))},
    ),
))  # fmt: skip
ADAM = Branch((Parameter("lr", Float(1e-5, 1e-2, log=True), (("opt", "adam"),)),))
TREE = Space(
    Branch((
        Parameter("opt", texts("sgd", "adam", "none"), (), {"sgd": SGD, "adam": ADAM}),
        Parameter("width", Int(16, 128, log=True)),
        Parameter("drop", Float(0.0, 0.5, step=0.1)),
        Parameter("depth", Int(2, 11, step=3)),
        Parameter("fixed", Float(0.3, 0.3)),
    ))
)  # fmt: skip
ENCODING = of_space(TREE)


def cube(seed: int, count: int = 50) -> np.ndarray:
    return ENCODING.uniform(np.random.default_rng(seed), count)


@given(st.integers(0, 10_000))
def test_a_snapped_row_is_read_back_from_its_parameters(seed):
    for row in ENCODING.snap(cube(seed, 5)):
        params = ENCODING.params(row)
        again = ENCODING.row(params)
        assert np.allclose(row, again, rtol=0, atol=1e-12, equal_nan=True)
        assert is_known(row, again[None])


@given(st.integers(0, 10_000))
def test_the_space_accepts_every_proposal(seed):
    """What is active is exactly what the space asks for, and every value is in its range."""
    for row in ENCODING.snap(cube(seed, 5)):
        params = ENCODING.params(row)
        trial = optuna.trial.FixedTrial(params)
        TREE.suggest(trial)  # raises where a parameter is missing or out of range
        assert trial.params.keys() == params.keys()


def test_every_option_and_depth_of_conditions_occurs():
    rows = ENCODING.snap(cube(0, 400))
    found = {frozenset(ENCODING.params(row)) - {"width", "drop", "depth", "fixed"} for row in rows}
    assert found == {
        frozenset({"opt", "lr@sgd", "nesterov@sgd", "m@sgd@yes"}),
        frozenset({"opt", "lr@sgd", "nesterov@sgd"}),
        frozenset({"opt", "lr@adam"}),
        frozenset({"opt"}),
    }


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(1, 5), [1, 2, 3, 4, 5]),
        (IntDistribution(2, 11, step=3), [2, 5, 8, 11]),
        (FloatDistribution(0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (CategoricalDistribution(("a", None, 0.5)), ["a", None, 0.5]),
    ],
)
def test_each_value_of_a_grid_has_an_equal_share(distribution, values):
    encoding = of_distributions({"x": distribution})
    drawn = encoding.snap(encoding.uniform(np.random.default_rng(0), 6000))
    got = [encoding.params(row)["x"] for row in drawn]
    for value in values:
        share = sum(v == value or v == pytest.approx(value) for v in got if type(v) is type(value))
        assert share / 6000 == pytest.approx(1 / len(values), abs=0.03)


def test_logarithms_are_even():
    encoding = of_distributions({"x": FloatDistribution(1e-4, 1.0, log=True)})
    assert encoding.row({"x": 1e-2})[0] == pytest.approx(0.5)
    assert encoding.params(np.array([0.25]))["x"] == pytest.approx(1e-3)


def test_the_ends_of_a_range_are_exact():
    encoding = of_distributions({"x": FloatDistribution(1e-3, 0.3, log=True)})
    assert encoding.params(np.array([0.0])) == {"x": 1e-3}
    assert encoding.params(np.array([1.0])) == {"x": 0.3}


def test_what_the_space_does_not_take_is_kept_apart():
    row = ENCODING.row({"width": 512, "opt": "lion", "lr@sgd": -1.0, "stranger": 3})
    names = [c.name for c in ENCODING.columns]
    assert row[names.index("width")] > 1  # of a wider range, once
    assert math.isnan(row[names.index("opt")])
    assert math.isnan(row[names.index("lr@sgd")])


def test_a_finite_space_is_listed_once_each_and_others_are_not():
    assert ENCODING.grid() is None
    small = of_space(
        Space(
            Branch((
                Parameter("opt", texts("sgd", "adam"), (), {
                    "sgd": Branch((Parameter("m", Int(1, 3), (("opt", "sgd"),)),)),
                }),
                Parameter("drop", Float(0.0, 0.5, step=0.25)),
                Parameter("one", Float(2.0, 2.0)),
            ))
        )
    )  # fmt: skip
    every = small.grid()
    assert every is not None
    params = [small.params(row) for row in every]
    assert len({tuple(sorted(p.items())) for p in params}) == len(params) == (3 + 1) * 3
    assert all(
        is_known(row, every) for row in small.snap(small.uniform(np.random.default_rng(0), 99))
    )
    assert of_distributions({f"x{k}": IntDistribution(0, 9) for k in range(9)}).grid() is None
    assert of_distributions({"x": IntDistribution(1, 10**9)}).grid() is None


def test_features_have_a_column_for_each_option_and_no_nan():
    encoding = of_space(TREE)
    rows = encoding.snap(encoding.uniform(np.random.default_rng(0), 50))
    features = encoding.features(rows)
    assert features.shape == (50, len(encoding.columns) + 2)  # opt has three options
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == len(np.unique(np.nan_to_num(rows, nan=-1), axis=0))
