"""Opens SQLite files, and detects that a file was deleted or replaced.

This differs from Optuna's own use of SQLite in two ways.  A transaction takes the write lock when
it begins, not at its first write; otherwise queued trials run twice (optuna/optuna#1883 and others:
8 workers popped 40 queued trials 64 to 80 times).  And a file that was deleted or replaced is no
longer used; otherwise open connections go on with the deleted file, and new ones open an empty or
another database.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine

from tuner.errors import StorageError, StorageLost, StorageMissing
from tuner.storage import outages, schema
from tuner.storage.dialects import ONE_STATEMENT

TIMEOUT = 60.0
"""Seconds to wait for SQLite's write lock; with 5, 32 workers lost 19 of 128 trials."""


class File:
    """A database file.  Connections are opened only while it is the file that was opened first."""

    def __init__(self, url: URL) -> None:
        self.path = Path(str(url.database))
        _, given = url.get_dialect()().create_connect_args(url)
        self.options: dict[str, Any] = {"timeout": TIMEOUT, **given, "uri": True}
        if not self.path.exists():  # so no connection has locks on it that this drops
            self.path.touch()
        self.identity = self._found()

    def connect(self) -> sqlite3.Connection:
        self.verify()
        opened: sqlite3.Connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", **self.options
        )
        return opened

    def verify(self, *_: object) -> None:
        """Raise ``StorageLost`` if the file was deleted or replaced."""
        found = self._found()
        if found == self.identity:
            return
        what, cure = "replaced", "move the old one back"
        if found is None:
            what, cure = "deleted", "move it back, or put a copy in its place"
        name = self.path.name
        raise StorageLost(
            f"{self.path} was {what} while it was in use",
            key="storage.url",
            hint=f"{cure}, then run the same command to resume; {name}-wal and {name}-shm belong "
            "only to the old file, so remove them beside another",
        )

    def _found(self) -> tuple[int, int] | None:
        """Return device and inode of the file; None if it does not exist."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def opened(url: URL) -> tuple[Engine, schema.Options]:
    """Open a SQLite file; create it, and the tables, if missing.

    Returns:
        The engine, and the options with which another one can be created.

    Raises:
        RuntimeError: The tables are of a version that the installed Optuna does not read.
    """
    file = File(url)
    options = {"creator": file.connect}
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    event.listen(engine, "checkout", file.verify)
    reading = engine.execution_options(**{ONE_STATEMENT: True})
    if schema.version(reading) != schema.newest():
        schema.require(url.render_as_string(hide_password=False), options, create=True)
    outages.watch(engine, file.path)
    return engine, options


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(ONE_STATEMENT):
        return  # each statement is its own transaction, and reads take no lock
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def check_file(path: Path, *, create: bool) -> None:
    """Check that a file is a SQLite database and, unless ``create``, has Optuna's tables.

    Commands that only read must not turn an empty file into a database.

    The file is opened with SQLite: if this process opened and closed it itself, POSIX would drop
    the locks of all its connections to it.

    Raises:
        StorageError: The file is not a database, or has no tables.
    """
    if path.is_dir():
        raise StorageError(f"{path} is a directory", key="storage.url", hint="name a file in it")
    if not path.is_file():
        return
    asked = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)
    try:
        known = asked.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone()
        if known is None and not create:
            hint = "tuner tune makes one, or name another file"
            raise StorageMissing(f"{path} holds no study", key="storage.url", hint=hint)
    except sqlite3.DatabaseError as error:  # other errors are reported later
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StorageError(
                f"{path} is not a SQLite database", key="storage.url", hint="name another file"
            ) from None
    finally:
        asked.close()
