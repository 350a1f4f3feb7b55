"""The distributions of a study's parameters are read from the database only once."""

import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuner.storage import database
from tuner.storage.distributions import Distributions
from tuner.storage.trial_storage import Trials

X, WIDER = FloatDistribution(0, 1), FloatDistribution(0, 2)
CHOICE, OTHER = CategoricalDistribution(["a", "b"]), CategoricalDistribution(["a", "c"])


@pytest.fixture
def trials(url: str) -> Trials:
    return database.connect(url)


def begin(trials: Trials, name: str) -> tuple[int, int, int]:
    """A study and two running trials of it."""
    if any(study.study_name == name for study in trials.get_all_studies()):
        trials.delete_study(trials.get_study_id_from_name(name))
    study_id = trials.create_new_study([StudyDirection.MINIMIZE], name)
    return study_id, trials.create_new_trial(study_id), trials.create_new_trial(study_id)


def test_what_another_process_drew_from_is_found_and_only_asked_once(url, trials):
    _, first, second = begin(trials, "one")
    trials.set_trial_param(first, "x", 0.5, X)
    trials.set_trial_param(first, "kind", 0, CHOICE)
    known = Distributions(trials.single)
    asked: list[str] = []
    sa.event.listen(
        trials.engine, "before_cursor_execute", lambda _c, _k, text, *_: asked.append(text)
    )
    for _ in range(3):
        known.check(second, "x", WIDER)  # a range may change
        with pytest.raises(ValueError, match="dynamic value space"):
            known.check(first, "kind", OTHER)
    assert len([text for text in asked if "distribution_json" in text]) == 2


def test_studies_differ_as_they_like_and_a_deleted_one_is_forgotten(trials):
    one, first, _ = begin(trials, "one")
    two, other, _ = begin(trials, "two")
    trials.distributions.check(first, "kind", CHOICE)
    trials.distributions.check(other, "kind", OTHER)
    with pytest.raises(ValueError, match="dynamic value space"):
        trials.distributions.check(first, "kind", OTHER)
    trials.delete_study(one)
    assert {study_id for study_id, _ in trials.distributions.known} == {two}
    with pytest.raises(KeyError):
        trials.distributions.check(first, "kind", CHOICE)


def test_that_a_trial_has_ended_is_the_better_reason(trials):
    _, first, second = begin(trials, "one")
    trials.distributions.check(first, "kind", CHOICE)
    trials.set_trial_state_values(second, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        trials.distributions.check(second, "kind", OTHER)
