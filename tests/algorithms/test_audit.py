"""The audit: the random sample of rejected trials, and the interval of the false-pruning rate."""

import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuner.algorithms.pruners import audit
from tuner.study.attempts import FIRST


def test_the_sample_is_the_same_for_everybody_and_of_the_size_asked_for():
    drawn = [audit.is_drawn("mine", number, 0.1) for number in range(4000)]
    assert drawn == [audit.is_drawn("mine", number, 0.1) for number in range(4000)]
    assert sum(drawn) == pytest.approx(400, abs=4 * math.sqrt(4000 * 0.09))
    assert drawn != [audit.is_drawn("another", number, 0.1) for number in range(4000)]
    assert not any(audit.is_drawn("mine", number, 0.0) for number in range(4000))
    assert all(audit.is_drawn("mine", number, 1.0) for number in range(4000))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_who_is_spared_is_marked_with_the_step_and_nobody_else(share: float):
    study = optuna.create_study()
    running = study.ask()
    running.report(0.5, 3)
    assert audit.begin_if_drawn(study, study.trials[0], share) == bool(share)
    assert audit.would_prune_at(study.trials[0]) == (3 if share else None)


def test_a_retry_is_drawn_as_its_first_attempt_was():
    study = optuna.create_study(study_name="mine")
    drawn = next(n for n in range(100) if audit.is_drawn("mine", n, 0.1))
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={FIRST: drawn}))
    study.ask().report(0.5, 1)
    assert not audit.is_drawn("mine", study.trials[0].number, 0.1)
    assert audit.begin_if_drawn(study, study.trials[0], 0.1)


def tail(k: int, n: int, rate: float) -> float:
    """The probability of ``k`` or fewer hits."""
    return sum(math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 12), (1, 12), (5, 9), (9, 9)])
def test_the_interval_is_where_either_tail_is_a_fortieth(hits: int, count: int):
    low, high = audit.interval(hits, count)
    assert low <= hits / count <= high
    if hits:
        assert 1 - tail(hits - 1, count, low) == pytest.approx(0.025)
    if hits < count:
        assert tail(hits, count, high) == pytest.approx(0.025)


def test_of_none_audited_nothing_is_known():
    assert audit.interval(0, 0) == (0.0, 1.0)
