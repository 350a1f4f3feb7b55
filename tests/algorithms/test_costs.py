from datetime import datetime, timedelta

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.algorithms.rung_scores import Scoreboard
from tuner.algorithms.samplers.costs import LEAST_KNOWN, Costs, last_fit
from tuner.algorithms.samplers.encoding import of_distributions
from tuner.study.fidelity import LENGTH

LINE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
ENCODING = of_distributions(LINE)
ROWS = np.array([[0.1, 0.95], [0.9, 0.95]])


def told(study, x, y, *, epochs=10, seconds=30.0, state=TrialState.COMPLETE):
    study.add_trial(
        create_trial(
            state=state,
            params={"x": x, "y": y},
            distributions=LINE,
            value=y if state == TrialState.COMPLETE else None,
            intermediate_values={1: y, 2: y, 3: y},
            system_attrs={LENGTH: epochs},
        )
    )
    number = study.trials[-1].number
    frozen = study._storage.get_trial(number)
    frozen.datetime_start = datetime(2026, 1, 1)
    frozen.datetime_complete = frozen.datetime_start + timedelta(seconds=seconds)
    study._storage._set_trial(number, frozen)


def logs(study, cost, scoreboard=None):
    """Return the weighted log costs of two configurations, as the sampler of a new trial does."""
    scoreboard = scoreboard or Scoreboard()
    table = scoreboard.table(study, ENCODING)
    return Costs(ENCODING, scoreboard, cost).log(ROWS, table)


@pytest.mark.parametrize("cost", ["epochs", "seconds"])
def test_the_cost_is_weighted_by_its_root(cost):
    """The cost depends on x alone."""
    study = optuna.create_study()
    for k in range(64):
        x, y = (k % 8) / 7, (k // 8) / 7
        dear = 10 if x < 0.5 else 100
        told(study, x, y, **({"epochs": dear} if cost == "epochs" else {"seconds": 3.0 * dear}))
    study.ask()
    cheap, dear = logs(study, cost)
    assert dear - cheap == pytest.approx(np.log(10) / 2, rel=0.2)
    assert not logs(study, "none").any()


def test_costs_that_are_equal_or_of_few_trials_do_not_count():
    study = optuna.create_study()
    for k in range(12):
        told(study, k / 12, 0.5, epochs=10 if k >= LEAST_KNOWN else 10 * (k + 1))
        if k < LEAST_KNOWN - 1:
            study.ask()
            assert not logs(study, "epochs").any()
    equal = optuna.create_study()
    for k in range(12):
        told(equal, k / 12, 0.5)
    equal.ask()
    assert not logs(equal, "epochs").any()


def test_the_model_is_that_of_the_last_fit_in_a_new_process_too():
    study, kept = optuna.create_study(), Scoreboard()
    for k in range(30):
        told(study, k / 30, 0.5, epochs=k + 1)
        assert np.array_equal(logs(study, "epochs", kept), logs(study, "epochs"))


def test_fits_get_rarer():
    assert [last_fit(n) for n in (3, 4, 5, 6, 99)] == [None, 4, 5, 6, 84]
    assert len({last_fit(n) for n in range(4, 1001)}) < 30
