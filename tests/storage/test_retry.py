"""Workers wait during a database outage and log it once."""

import logging
import random
import time

import psycopg
import pytest
import sqlalchemy as sa

from tests.storage.test_outages import postgresql, wrapped
from tuner.errors import StorageError, StorageLost
from tuner.storage.retry import Patience

GONE = sa.exc.OperationalError("select", {}, Exception("gone"))
READ_ONLY = "cannot execute INSERT in a read-only transaction"


@pytest.fixture
def told(caplog, monkeypatch):
    """The lines that were logged; nobody sleeps."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    caplog.set_level(logging.INFO, logger="tuner")
    return lambda: [record.getMessage() for record in caplog.records]


def failing(*errors: Exception):
    """A call that fails with each of them, and then does not."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "back"

    return call


def test_it_waits_for_a_database_that_comes_back(told):
    assert Patience(5)(failing(GONE, GONE)) == "back"


def test_workers_that_lost_a_database_at_once_do_not_return_at_once(monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    seeded = random.getstate()
    for _ in range(2):
        Patience(60)(failing(*[GONE] * 7))
    for k, pause in enumerate(pauses):
        longest = min(0.2 * 2 ** (k % 7), 10.0)
        assert longest / 2 <= pause <= longest
    assert pauses[:7] != pauses[7:]
    assert random.getstate() == seeded, "it is the objective's"


def test_it_waits_no_longer_than_it_was_told(told):
    with pytest.raises(StorageLost, match=r"unavailable for 0 s \(gone\); hint: "):
        Patience(0)(failing(GONE))
    assert told() == ["the database is unavailable: gone"], "and it is not said to be back"


def test_what_waiting_does_not_help_is_the_databases_fault_at_once(told):
    with pytest.raises(
        StorageLost, match=r'the database rejected a request: relation "trials" .*; hint: '
    ):
        Patience(5)(failing(postgresql("42P01", 'relation "trials" does not exist\nLINE 1: …')))
    assert told() == []
    with pytest.raises(StorageError, match="a person"):
        Patience(5)(failing(StorageError("a person must act")))


def test_an_outage_is_told_once_then_its_changes_and_a_last_word(told):
    line = 'connection to server at "db", port {} failed: Connection refused\n\tIs the server …?'
    refused = [wrapped(psycopg.OperationalError(line.format(n)), psycopg.Error) for n in (1, 2)]
    stopping = postgresql("57P01", "terminating connection due to administrator command")
    starting = postgresql("57P03", "the database system is starting up")
    call = failing(
        stopping, *refused, starting, refused[0], starting, postgresql("25006", READ_ONLY)
    )
    assert Patience(60)(call) == "back"
    assert told() == [
        "the database is unavailable: terminating connection due to administrator command",
        'the database is unavailable: connection to server at "db", port 1 failed: '
        "Connection refused",
        "the database is unavailable: the database system is starting up",
        f"the database is unavailable: {READ_ONLY}",
        "the database is available again after 0 s",
    ]


def test_it_is_back_when_nobody_waits_any_more(told):
    """Reading may go on where nothing can be written."""
    patience = Patience(60)
    patience.failed("the heart", postgresql("25006", READ_ONLY))
    assert patience(failing()) == "back"
    assert patience(failing(postgresql("25006", READ_ONLY))) == "back"
    assert len(told()) == 1
    patience.answered("the heart")
    patience.answered("the heart")
    assert told()[1:] == ["the database is available again after 0 s"]
    patience.failed("the heart", postgresql("25006", READ_ONLY))
    patience.gone("the heart")
    assert len(told()) == 3, "another outage, told again; who leaves meanwhile says nothing"
