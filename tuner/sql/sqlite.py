"""A file of SQLite: its connections, and whether it is still the one that was opened.

Two faults of SQLite as Optuna opens it are mended here.  Its lock is taken when a transaction
begins, not when it first writes: queued trials were run twice (optuna/optuna#1883 and relatives;
40 queued trials were popped 64 to 80 times by 8 workers).  And a file that is deleted or replaced
is no longer written to: open connections would go on with what has no name any more, and new ones
with an empty or a stranger's database.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection

from tuner.errors import StorageError, StorageLost
from tuner.sql import outages

TIMEOUT = 60.0
"""Seconds to wait for SQLite's write lock; with 5, 32 workers lost 19 of 128 trials."""

ONE_STATEMENT = "tuner_single"
"""Execution option of an engine whose statements stand alone, each its own transaction."""


class File:
    """A database file; connections to it are opened only while it is the one it was at first."""

    def __init__(self, url: URL) -> None:
        self.path = Path(str(url.database))
        _, given = url.get_dialect()().create_connect_args(url)
        self.options: dict[str, Any] = {"timeout": TIMEOUT, **given, "uri": True}
        if not self.path.exists():  # so no connection is open to it, whose locks this would drop
            self.path.touch()
        self.identity = self._found()

    def connect(self) -> sqlite3.Connection:
        self.verify()
        opened: sqlite3.Connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", **self.options
        )
        return opened

    def verify(self, *_: object) -> None:
        """Raise ``StorageLost`` if the file was deleted or is another."""
        found = self._found()
        if found == self.identity:
            return
        what, cure = "replaced", "move the old one back"
        if found is None:
            what, cure = "deleted", "move it back, or put a copy in its place"
        name = self.path.name
        raise StorageLost(
            f"storage.url: {self.path} was {what} while it was in use; hint: {cure}, and the same "
            f"command goes on; {name}-wal and {name}-shm belong to the old file alone, so remove "
            "them beside another"
        )

    def _found(self) -> tuple[int, int] | None:
        """Device and inode, None if there is no file."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def opened(url: URL) -> RDBStorage:
    """Optuna's storage on the file of a URL, which is made, with its tables, if it is missing."""
    file = File(url)
    storage = RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs={"creator": file.connect}
    )
    event.listen(storage.engine, "connect", _on_connect)
    event.listen(storage.engine, "begin", _on_begin)
    event.listen(storage.engine, "checkout", file.verify)
    outages.watch(storage.engine, file.path)
    storage.scoped_session.remove()
    storage.engine.dispose()  # connections opened before the listeners stood
    return storage


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(ONE_STATEMENT):
        return  # a statement that stands alone is its own transaction, and reading locks nobody
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def judge_file(path: Path, *, create: bool) -> None:
    """Refuse what is no SQLite database, by SQLite's own word, and one without any study's tables.

    The latter unless they may be created: who only looks makes no database of an empty file.

    To open and close the file ourselves would drop the locks of all connections that this process
    has to it, as POSIX wants; SQLite knows of them.
    """
    if path.is_dir():
        raise StorageError(f"storage.url: {path} is a directory; hint: name a file in it")
    if not path.is_file():
        return
    asked = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)
    try:
        known = asked.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone()
        if known is None and not create:
            raise StorageError(
                f"storage.url: {path} holds no study; hint: tuner tune makes one, or name another "
                "file"
            )
    except sqlite3.DatabaseError as error:  # whatever else is wrong is found, and said, later
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise StorageError(
                f"storage.url: {path} is no SQLite database; hint: name another file"
            ) from None
    finally:
        asked.close()
