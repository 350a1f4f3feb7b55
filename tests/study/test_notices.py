"""What an idle worker notices of the studies of a database, on every kind of database."""

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from tuner.config.composition import Source
from tuner.study import create, plan
from tuner.study.budget import Budget
from tuner.study.leases import workers
from tuner.study.notices import AGAIN, Notices
from tuner.study.study import Study


@pytest.fixture
def asked(url, request) -> list[str]:
    """The overrides of a study of this test's own."""
    name = f"study.name='{request.node.name}'"
    return [f"storage.url='{url}'", name, "space=none", "model.width=int(interval(8,64))"]


def opened(asked: list[str], *more: str) -> Study:
    return create.open_study(plan.load(Source(), [*asked, *more], validate=False))


def is_due(notices: Notices, study: Study) -> bool:
    return study.name in notices.due()


def test_a_study_is_due_when_something_has_changed(asked):
    study = opened(asked, "study.n_trials=1")
    notices = Notices(study.storage, grace=60)
    assert is_due(notices, study), "a new one"
    assert not is_due(notices, study)
    opened(asked, "study.n_trials=2")
    assert is_due(notices, study), "its budget was raised"
    held = study.claim("worker", budget=Budget(n_trials=2), max_retries=3)
    assert not is_due(notices, study), "what a worker has taken is no work for another"
    study.requeue(held, "preempted")
    assert is_due(notices, study)
    assert not is_due(notices, study)
    assert study.claim("worker", budget=Budget(n_trials=2), max_retries=3)
    with study.storage.engine.begin() as connection:
        connection.execute(sa.update(workers).values(beat=1.0).where(workers.c.id == "worker"))
    assert is_due(notices, study), "its worker was lost"


def test_a_stopped_study_is_due_when_somebody_goes_on_with_it(asked):
    study = opened(asked)
    study.join("worker", "cpu")
    study.stop()
    notices = Notices(study.storage, grace=60)
    notices.due()
    opened(asked)
    assert study.is_stopped("worker"), "it has not left yet"
    assert not is_due(notices, study)
    study.leases.leave("worker")
    opened(asked)
    assert is_due(notices, study)
    assert study.attrs["stopped"] == []


def test_an_open_study_is_due_again_after_a_while(asked, monkeypatch):
    study = opened(asked)
    notices = Notices(study.storage, grace=60)
    notices.due()
    notices.open.add(study.name)
    assert not is_due(notices, study)
    notices.since -= AGAIN
    assert is_due(notices, study)
    assert not is_due(notices, study)


def test_a_study_that_was_deleted_and_created_again_between_two_looks_is_due(asked):
    study = opened(asked)
    notices = Notices(study.storage, grace=60)
    notices.due()
    study.storage.delete_study(study.id)
    assert is_due(notices, opened(asked))


def test_a_worker_lost_after_its_trial_is_nothing_to_notice(asked):
    study = opened(asked, "study.n_trials=1")
    study.join("worker", "cpu")
    held = study.claim("worker", budget=Budget(n_trials=1), max_retries=3)
    study.storage.set_trial_state_values(held, TrialState.COMPLETE, [1.0])
    study.expire("worker")
    notices = Notices(study.storage, grace=60)
    notices.due()
    assert not is_due(notices, study)
