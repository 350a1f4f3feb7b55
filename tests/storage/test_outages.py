"""Errors of database drivers are classified as outages, damaged files or refusals."""

import sqlite3
from pathlib import Path

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from tuner.errors import StorageAway, StorageError, StorageLost
from tuner.storage import database, outages


def wrapped(orig: Exception, base: type[Exception], *, lost: bool = False) -> DBAPIError:
    """As SQLAlchemy raises what a driver has raised."""
    found = DBAPIError.instance("select", None, orig, base, connection_invalidated=lost)
    assert isinstance(found, DBAPIError)
    return found


def postgresql(state: str, said: str = "no") -> DBAPIError:
    """The error of a SQLSTATE, of the class that psycopg chooses for it."""
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:  # psycopg falls back on the state's class
        kind = type("Unnamed", (psycopg.InternalError,), {"sqlstate": state})
    return wrapped(kind(said), psycopg.Error)


def mysql(kind: type[Exception], code: int, said: str = "no") -> DBAPIError:
    return wrapped(kind(code, said), pymysql.err.Error)


def sqlite(code: int | None, said: str = "no") -> DBAPIError:
    orig = sqlite3.OperationalError(said)
    if code is not None:
        orig.sqlite_errorcode = code
    return wrapped(orig, sqlite3.Error)


@pytest.mark.parametrize(
    "state",
    ["25006", "08006", "08003", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01",
     "57P02", "57P03", "58030", "58P01", "XX000", "XX001", "42501", "25P03"],
)  # fmt: skip
def test_postgresql_is_away_by_its_sqlstate_whatever_the_class_of_the_exception(state):
    assert outages.is_outage(postgresql(state))


@pytest.mark.parametrize("state", ["42601", "42P01", "42703", "22003", "23505", "3D000", "25001"])
def test_postgresql_refuses_what_is_wrong_in_itself(state):
    error = postgresql(state)
    assert not outages.is_outage(error)
    assert "the database rejected a request: no; hint: " in str(outages.lost(error))


@pytest.mark.parametrize("code", [1290, 1836, 1040, 1044, 1053, 1142, 1205, 1213, 2006, 2013, 3100])
@pytest.mark.parametrize("kind", [pymysql.err.OperationalError, pymysql.err.InternalError])
def test_mysql_is_away_by_its_number(code, kind):
    assert outages.is_outage(mysql(kind, code))


@pytest.mark.parametrize("code", [1054, 1064, 1146, 1366, 1406])
def test_mysql_refuses_what_is_wrong_in_itself(code):
    assert not outages.is_outage(mysql(pymysql.err.OperationalError, code))


@pytest.mark.parametrize(
    ("code", "away", "damaged"),
    [
        (sqlite3.SQLITE_BUSY, True, False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True, False),
        (sqlite3.SQLITE_READONLY, True, False),
        (sqlite3.SQLITE_FULL, True, False),
        (sqlite3.SQLITE_IOERR_WRITE, True, False),
        (sqlite3.SQLITE_CANTOPEN, True, False),
        (sqlite3.SQLITE_CORRUPT, False, True),
        (sqlite3.SQLITE_CORRUPT_VTAB, False, True),
        (sqlite3.SQLITE_NOTADB, False, True),
        (sqlite3.SQLITE_IOERR | 33 << 8, False, True),  # a file system's own checksum
        (sqlite3.SQLITE_ERROR, False, False),  # no such table
        (None, True, False),
    ],
)
def test_sqlite_is_away_or_damaged_by_its_code(code, away, damaged):
    error = sqlite(code)
    assert (outages.is_outage(error), outages.is_damage(error)) == (away, damaged)


def test_a_text_that_is_none_is_damage():
    error = sqlite(None, "Could not decode to UTF-8 column 'value_json' with text '\xfb'")
    assert outages.is_damage(error)
    assert not outages.is_outage(error)
    assert "the file is damaged: a.db (" in str(outages.lost(error, Path("a.db")))


def test_a_connection_that_was_lost_or_cannot_be_had_is_an_outage_without_a_code():
    refused = wrapped(psycopg.OperationalError("connection refused"), psycopg.Error)
    cut = wrapped(psycopg.DataError("?"), psycopg.Error, lost=True)
    full = sa.exc.TimeoutError("QueuePool limit of size 2 overflow 2 reached")
    for error in (refused, cut, full, StorageAway("a lock is held by another")):
        assert outages.is_outage(error)
    assert not outages.is_outage(wrapped(psycopg.DataError("?"), psycopg.Error))
    assert not outages.is_outage(KeyError("no trial"))


def test_what_optunas_storage_has_wrapped_is_told_in_the_drivers_words():
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = postgresql("25006", "cannot execute INSERT in a read-only …\nLINE 1")
    assert outages.is_outage(error)
    assert outages.reason(error) == "cannot execute INSERT in a read-only …"
    assert outages.reason(mysql(pymysql.err.OperationalError, 1836, "read only")) == "read only"


@pytest.mark.parametrize(
    ("orig", "anew"),
    [
        (psycopg.errors.ReadOnlySqlTransaction("no"), True),
        (pymysql.err.OperationalError(1290, "no"), True),
        (pymysql.err.OperationalError(1836, "no"), True),
        (psycopg.errors.InsufficientPrivilege("no"), False),
        (sqlite("8").orig, False),
    ],
)
def test_a_server_that_takes_no_writes_is_connected_to_anew(orig, anew):
    assert outages.is_read_only(orig) is anew


def test_an_error_of_a_studys_database_is_known_from_one_that_an_objective_uses(tmp_path: Path):
    ours = database.connect(f"sqlite:///{tmp_path}/s.db").engine
    theirs = sa.create_engine("sqlite://")
    for engine, known in ((ours, True), (theirs, False)):
        with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
            connection.exec_driver_sql("SELECT * FROM nowhere")
        assert outages.is_ours(caught.value) is known
    theirs.dispose()


def test_a_lost_database_ends_a_command_with_one(tmp_path: Path):
    assert StorageError.exit_code == 2, "refused before any work"
    assert StorageLost.exit_code == 1
