"""The importances are those of Optuna's own evaluator, which takes a second to import."""

import math
import random
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from tuner.report.analysis import ped_anova

SPACE = {
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "share": FloatDistribution(0.0, 0.5),
    "stepped": FloatDistribution(0.0, 1.0, step=0.25),
    "width": IntDistribution(8, 512, log=True),
    "twice": IntDistribution(1, 2, log=True),
    "depth": IntDistribution(1, 5),
    "even": IntDistribution(0, 1000, step=2),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "flag": CategoricalDistribution([True, None]),
    "fixed": IntDistribution(3, 3),
}


def trials(count: int, seed: int) -> list[FrozenTrial]:
    """Trials of which ``momentum`` exists for one kind only, and ``depth`` has two ranges."""
    rng = random.Random(seed)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(sampler=sampler)
    found = []
    for _ in range(count):
        space = dict(SPACE)
        if rng.random() < 0.3:
            space["depth"] = IntDistribution(2, 9)
        if rng.random() < 0.5:
            space["momentum"] = FloatDistribution(0.5, 0.99)
        params = study.ask(space).params
        value = abs(math.log10(params["rate"]) + 3) + (params["kind"] == "b") + rng.random()
        found.append(create_trial(value=round(value, 1), params=params, distributions=space))
    return found


@pytest.mark.parametrize("count", [10, 37, 400])
@pytest.mark.parametrize("resampled", [False, True])
def test_the_importances_are_those_of_optuna(count: int, resampled: bool) -> None:
    done = trials(count, seed=count)
    names = [*SPACE, "momentum"]
    numbers = random.Random(1).choices(range(count), k=count) if resampled else [*range(count)]
    study = optuna.create_study()
    study.add_trials([done[number] for number in numbers])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = optuna.importance.get_param_importances(study, params=names)
    losses = np.array([trial.value for trial in done])
    found = ped_anova.shares(ped_anova.ranges(done, names), names, losses, np.array(numbers))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert [*found.values()] == sorted(found.values(), reverse=True)


def test_parameters_that_explain_nothing_have_equal_shares() -> None:
    done = [create_trial(value=1.0, params={}, distributions={}) for _ in range(12)]
    found = ped_anova.shares([], ["a", "b"], np.ones(len(done)), np.arange(len(done)))
    assert found == {"a": 0.5, "b": 0.5}


def test_a_range_as_wide_as_numbers_go_has_cells() -> None:
    wide = FloatDistribution(-1e308, 1e308)
    done = [create_trial(value=v, params={"x": v}, distributions={"x": wide}) for v in (-1e308, 7)]
    (known,) = ped_anova.ranges(done, ["x"])
    assert 0 <= known.cells.min() <= known.cells.max() < known.size
