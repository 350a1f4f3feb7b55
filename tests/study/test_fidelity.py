"""The epochs of rungs on a trial's own schedule, and its values there."""

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.study import fidelity


@pytest.mark.parametrize(
    ("fraction", "epochs", "step"),
    [(1 / 9, 9, 1), (1 / 9, 90, 10), (1 / 9, 10, 2), (1 / 3, 3, 1), (0.25, 15, 4), (0.1, 1, 1)],
)
def test_a_rung_is_the_first_step_that_has_come_so_far(fraction: float, epochs: int, step: int):
    assert fidelity.step_at(fraction, epochs) == step


def trial(curve: dict[int, float], state: TrialState = TrialState.RUNNING) -> FrozenTrial:
    value = 9.0 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=curve)


def test_the_value_at_a_step_is_the_first_from_there_on():
    found = trial({2: 0.2, 4: 0.4, 6: 0.6})
    assert [fidelity.value_at(found, step) for step in (1, 2, 3, 6)] == [0.2, 0.2, 0.4, 0.6]
    assert fidelity.value_at(found, 7) is None
    assert fidelity.value_at(trial({}), 1) is None


def test_what_is_complete_before_a_step_counts_with_its_last_value():
    done = TrialState.COMPLETE
    assert fidelity.value_at(trial({1: 0.1, 2: 0.3}, done), 5) == 0.3
    assert fidelity.value_at(trial({}, done), 5) is None


def test_a_length_that_nobody_noted_is_unknown():
    assert fidelity.length(trial({})) is None
    noted = create_trial(state=TrialState.WAITING, system_attrs={fidelity.LENGTH: 30})
    assert fidelity.length(noted) == 30
