"""Snapshots and locks of each kind of database; its statements are tested with the storage."""

from functools import partial

import pytest
import sqlalchemy as sa
from optuna.study import StudyDirection

from tuner.errors import StorageAway
from tuner.storage import database, dialects


def test_a_snapshot_sees_one_moment(url: str):
    storage = database.connect(url)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    query = sa.text("SELECT count(*) FROM trials")
    with storage.dialect.snapshot(storage.engine) as connection:
        before = connection.scalar(query)
        storage.create_new_trial(study_id)
        assert connection.scalar(query) == before
    storage.close()


@pytest.mark.slow
def test_a_lock_of_mysql_that_another_holds_is_not_taken_for_ours(mariadb, monkeypatch):
    monkeypatch.setattr(dialects, "LOCK_TIMEOUT", 0.2)
    engine = sa.create_engine(mariadb)
    lock = partial(dialects.of(engine).lock, engine)
    with lock("a study"):
        refused = pytest.raises(StorageAway, match=r"'a study' is held by another .*; hint: ")
        with refused, lock("a study"):
            pass
        with lock("another"):
            pass
    with lock("a study"):
        pass
    engine.dispose()
