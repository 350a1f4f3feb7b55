"""A worker's heartbeat detects what has happened to its database."""

import logging

import pytest

from tests.storage.test_outages import postgresql
from tests.study.test_next_trial import Bench
from tuner.errors import StorageLost
from tuner.storage.tables import study_attributes
from tuner.study.budget import Budget
from tuner.worker.heartbeat import Heart
from tuner.worker.signals import Signals


@pytest.fixture
def heart(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="tuner")
    study = Bench(tmp_path, Budget(n_trials=9)).study
    return Heart(study, "w", 10.0, Signals(), study.start("cpu", 1), 0)


def test_a_study_that_is_another_now_is_found_by_the_next_beat(heart):
    heart.beat()
    assert not heart.is_lost()
    with heart.study.storage.engine.begin() as connection:
        uid = study_attributes.c.key == "uid"
        connection.execute(study_attributes.update().where(uid).values(value_json='"another"'))
    heart.beat()
    for ask in (heart.is_lost, heart.check):
        with pytest.raises(StorageLost, match="replaced by another study"):
            ask()


def test_beats_go_on_while_the_database_is_away_and_it_is_told_once(heart, monkeypatch, caplog):
    leases = heart.study.leases
    beat, left = leases.beat, [postgresql("57P01", "shutting down")] * 3

    def away(worker: str) -> bool:
        if left:
            raise left.pop()
        return beat(worker)

    monkeypatch.setattr(leases, "beat", away)
    for _ in range(5):
        heart.beat()
        assert not heart.is_lost()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "the database is unavailable: shutting down",
        "the database is available again after 0 s",
    ]


def test_a_database_that_refuses_for_good_is_lost(heart, monkeypatch):
    def refuse(_worker: str) -> bool:
        raise postgresql("42P01", 'relation "tuner_workers" does not exist')

    monkeypatch.setattr(heart.study.leases, "beat", refuse)
    heart.beat()
    with pytest.raises(StorageLost, match="the database rejected a request: relation"):
        heart.is_lost()
