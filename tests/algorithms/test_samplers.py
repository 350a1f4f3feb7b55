"""Optuna's test suites for samplers, run on tuner's samplers."""

import pickle
from collections.abc import Callable, Mapping

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from tests.algorithms.test_tpe import SETTINGS
from tuner.algorithms.pruners.rungs import Rungs
from tuner.algorithms.samplers.grid import Grid
from tuner.algorithms.samplers.random import Random
from tuner.algorithms.samplers.tpe import Tpe

Make = Callable[[], BaseSampler]

XYZ: Mapping[str, BaseDistribution] = {
    "x": FloatDistribution(-1, 1),
    "y": IntDistribution(-1, 1),
    "z": FloatDistribution(-1, 1),
}
SPACES: Mapping[str, Mapping[str, BaseDistribution]] = {
    "test_nan_objective_value": {"x": FloatDistribution(0.1, 0.2)},
    "test_partial_fixed_sampling": XYZ,
    "test_sample_relative_categorical": {
        "x": optuna.distributions.CategoricalDistribution([1, 10, 100]),
        "y": optuna.distributions.CategoricalDistribution([-1, -10, -100]),
    },
    "test_sample_relative_mixed": {
        "y": optuna.distributions.CategoricalDistribution([-1, -10, -100])
    },
    "test_trial_relative_params": {
        "x": FloatDistribution(-10, 10),
        "y": FloatDistribution(-10, 10),
    },
}
"""Test of a suite → the space that it draws from; ours are told it beforehand."""


class TestTpe(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
        varied = {k: given[f"{k}_distribution"] for k in "xy" if f"{k}_distribution" in given}
        space = {**varied, **SPACES.get(request.node.originalname, {})}
        return lambda: Tpe(space, 0, **SETTINGS)


class TestRandom(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Make:
        return lambda: Random(0)


GRIDS: Mapping[str, dict[str, list[float]]] = {
    "test_nan_objective_value": {"x": [0.1, 0.15, 0.2]},
    "test_partial_fixed_sampling": {"x": [-1.0, 1.0], "y": [-1, 0, 1], "z": [-1.0, 1.0]},
    "test_sample_single_distribution": {name: [1] for name in "abcdef"},
}
"""The tests of the suite whose parameters can be listed; the others draw what no grid has."""


class TestGrid:
    @pytest.fixture
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        return lambda: Grid(GRIDS[request.node.originalname], 0)

    test_nan_objective_value = BasicSamplerTestCase.test_nan_objective_value
    test_partial_fixed_sampling = BasicSamplerTestCase.test_partial_fixed_sampling
    test_sample_single_distribution = BasicSamplerTestCase.test_sample_single_distribution


def test_what_is_fixed_over_ours_leaves_its_space_as_it_was() -> None:
    ours = Tpe(XYZ, 0, **SETTINGS)
    study = optuna.create_study(sampler=ours)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        fixed = optuna.samplers.PartialFixedSampler({"y": 0}, ours)
    for sampler in (fixed, ours):
        study.sampler = sampler
        for _ in range(12):
            trial = study.ask(dict(XYZ))
            study.tell(trial, trial.params["x"])
    assert {t.params["y"] for t in study.trials[:12]} == {0}
    assert len({t.params["y"] for t in study.trials[12:]}) == 3
    assert list(ours.infer_relative_search_space(study, study.trials[0])) == list(XYZ)


def test_a_study_with_our_sampler_and_pruner_can_be_sent_to_another_process() -> None:
    pruner = Rungs(rungs=[0.1, 0.5], keep=0.5, audited=0.0)
    study = optuna.create_study(sampler=Tpe(XYZ, 0, **SETTINGS), pruner=pruner)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        for step in range(1, 5):
            trial.report(x, step)
            trial.should_prune()
        return x

    study.optimize(objective, n_trials=12)
    sent = pickle.loads(pickle.dumps(study))
    for each in (study, sent):
        each.optimize(objective, n_trials=3)
    assert [t.params for t in sent.trials] == [t.params for t in study.trials]
    assert [t.state for t in sent.trials] == [t.state for t in study.trials]


def test_trials_in_threads_are_drawn_like_any_other() -> None:
    """One thread read the trials, another read more of them and was first with what it knew."""
    study = optuna.create_study(sampler=Tpe(XYZ, 0, **SETTINGS))
    failed: list[BaseException] = []

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", -1, 1) + trial.suggest_int("y", -1, 1)

    try:
        study.optimize(objective, n_trials=60, n_jobs=4)
    except BaseException as error:
        failed.append(error)
    assert failed == []
    assert len(study.trials) == 60
