"""Classify errors of database drivers: outages, read-only servers and damaged files.

The classification uses the drivers' error codes, because the exception classes are too coarse:
PostgreSQL raises ``InternalError`` for a write to a standby, and ``ProgrammingError`` for a
revoked privilege.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from tuner.errors import StorageAway, StorageLost
from tuner.storage.urls import MEND

SQLSTATE_CLASSES = {"08", "40", "53", "55", "57", "58", "XX"}
"""PostgreSQL's error classes: connection, transaction rollback, insufficient resources, locks,
operator intervention, system error, internal error.
"""

READ_ONLY = "25006"
DENIED = "42501"
SQLSTATES = {
    READ_ONLY,  # a standby, or a quota of the provider is exceeded
    DENIED,  # a privilege was revoked
    "25P03",  # the session was idle in a transaction for too long
    "25P04",  # a transaction took too long
}

MYSQL_READ_ONLY = {1290, 1792, 1836}  # option such as --read-only; read-only transaction or server
MYSQL_DENIED = {1044, 1142, 1143, 1227, 1370}  # a privilege was revoked
MYSQL = MYSQL_READ_ONLY | MYSQL_DENIED | {
    0,  # PyMySQL: the connection is closed already
    1021, 1026, 1030, 1114,  # disk full, write failed, storage engine failed, table full
    1037, 1038, 1041, 1135,  # out of memory, out of threads
    1040, 1129, 1203, 1226,  # too many connections, host blocked, a user's limits
    1042, 1043, 1152, 1158, 1159, 1160, 1161, 1184, 1927,  # the connection broke
    1047, 1180, 3100, 3101,  # a cluster's node is not ready, or did not commit
    1053, 1077, 1078, 1079, 3032,  # shutdown, offline
    1045,  # the password has changed
    1205, 1213, 1317, 3024, 3058,  # lock timeout, deadlock, interrupted, timeout
    3168, 3169, 4031,  # the session was terminated
}  # fmt: skip
"""Errors of MySQL and MariaDB. Codes from 2000 to 2999 are those of the client; all of them mean a
lost connection.
"""

SQLITE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
CHECKSUMS = {sqlite3.SQLITE_IOERR | 32 << 8, sqlite3.SQLITE_IOERR | 33 << 8}
"""``SQLITE_IOERR_DATA`` and ``_CORRUPTFS``, for which Python 3.11 has no constants."""


OURS = "tuner_study"
"""Name of the attribute that marks errors of the engines passed to ``watch``."""

FAILURES = (DBAPIError, NoConnection, StorageInternalError, StorageAway)
"""Exceptions that a call may raise if the database is at fault, not the call."""


def is_outage(error: BaseException) -> bool:
    """Return whether the error is temporary, so that the same call may succeed later."""
    if isinstance(error, StorageAway | NoConnection):
        return True
    cause = told_by_driver(error)
    if cause is None or is_damage(error):
        return False
    if cause.connection_invalidated:
        return True
    code = _code(cause.orig)
    if isinstance(code, str):
        return code[:2] in SQLSTATE_CLASSES or code in SQLSTATES
    if isinstance(code, int):
        if isinstance(cause.orig, sqlite3.Error):
            return code & 0xFF in SQLITE
        return code in MYSQL or 2000 <= code < 3000
    return isinstance(cause, OperationalError | InterfaceError)


def is_damage(error: BaseException) -> bool:
    """Return whether the error reports that a SQLite file is damaged."""
    cause = told_by_driver(error)
    orig = error if cause is None else cause.orig
    if not isinstance(orig, sqlite3.Error):
        return isinstance(orig, UnicodeDecodeError)  # SQLite's message about a damaged schema
    code = _code(orig)
    if code is None:  # raised by Python's sqlite3 itself
        return str(orig).startswith("Could not decode to UTF-8")
    return isinstance(code, int) and (code & 0xFF in DAMAGED or code in CHECKSUMS)


@contextmanager
def typed_rows() -> Iterator[None]:
    """Raise ``StorageLost`` for a value whose type is not that of its column, as SQLite allows."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise StorageLost(
            f"a row of a trial is damaged ({type(error).__name__}: {error})",
            key="storage.url",
            hint="restore a backup, or delete the row",
        ) from error


def is_read_only(orig: BaseException | None) -> bool:
    """Return whether a driver's exception reports a read-only server, such as a standby."""
    return _code(orig) in {READ_ONLY, *MYSQL_READ_ONLY} and not isinstance(orig, sqlite3.Error)


def watch(engine: Engine, path: Path | None = None) -> None:
    """Handle the errors of an engine's connections; ``path`` is that of a SQLite file.

    A damaged file raises ``StorageLost``. Connections to a server that has become read-only are
    closed: after a failover, the next connection may reach a server that accepts writes.
    """

    def classify(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception or context.original_exception
        if path is not None and is_damage(error):
            raise lost(error, path)
        if is_read_only(context.original_exception):
            context.is_disconnect = True
        error.__dict__[OURS] = True

    event.listen(engine, "handle_error", classify)


def is_ours(error: BaseException) -> bool:
    """Return whether the error comes from a study's database, not from an objective's."""
    cause = told_by_driver(error)
    return cause is not None and OURS in cause.__dict__


def lost(error: BaseException, path: Path | None = None) -> StorageLost:
    """Return the ``StorageLost`` that explains why a database can no longer be used."""
    said = reason(error)
    if is_damage(error):
        where = f": {path}" if path else ""
        told = f"the file is damaged{where} ({said})"
        return StorageLost(told, key="storage.url", hint=MEND)
    cause = told_by_driver(error)
    what, hint = "rejected a request", "correct this, then run the same command again to resume"
    if cause is not None and _code(cause.orig) in {DENIED, *MYSQL_DENIED}:
        hint = "grant the role the privileges that docs/security.md lists"
    elif is_outage(error):
        what, hint = "is unavailable", "run the same command again once it is available"
    return StorageLost(f"the database {what}: {said}", hint=hint)


def told_by_driver(error: BaseException) -> DBAPIError | None:
    """Return the driver's error, even if Optuna's storage wrapped it; None for other errors."""
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return cause if isinstance(cause, DBAPIError) else None


def reason(error: BaseException) -> str:
    """Return the first line of the driver's message."""
    cause = told_by_driver(error)
    orig = error if cause is None or cause.orig is None else cause.orig
    code = _code(orig)
    said = str(orig.args[1]) if isinstance(code, int) and len(orig.args) > 1 else str(orig)
    return next((line.strip() for line in said.splitlines() if line.strip()), type(orig).__name__)


def _code(orig: BaseException | None) -> str | int | None:
    """Return SQLite's extended code, MySQL's error number, or the SQLSTATE; None if absent."""
    if isinstance(orig, sqlite3.Error):
        return getattr(orig, "sqlite_errorcode", None)
    if orig is not None and orig.args and isinstance(orig.args[0], int):
        return orig.args[0]
    state: str | None = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return state
