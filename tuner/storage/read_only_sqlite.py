"""Open a SQLite file for reading, without write access.

It may be on a read-only medium or in another user's directory. In write-ahead mode, SQLite writes a
log and an index beside the file. If those of a running search exist, they are read; if there is no
log, the file is complete.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, Table, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from tuner.errors import Mistake, StorageError
from tuner.storage import outages, schema

BESIDE = ("-wal", "-shm", ".lock")
"""Suffixes of files written beside a database, by SQLite and by tuner."""


def obstacle(path: Path) -> Path | None:
    """Return the file or directory that this user may not write to; None if there is none."""
    files = [path, *(Path(f"{path}{ending}") for ending in BESIDE)]
    there = [file for file in files if file.exists()]
    missing = len(there) < len(files) and path.parent.exists()
    wanted = [*there, path.parent] if missing else there
    return next((each for each in wanted if not os.access(each, os.W_OK)), None)


def refusal(path: Path) -> Mistake | None:
    """Return why the database cannot be written to, with a hint; None if it can."""
    if (what := obstacle(path)) is None:
        return None
    hint = "tuner status, best, report and dashboard --read-only need no write access"
    return Mistake("storage.url", f"{what} cannot be written to", hint)


def opened(url: URL) -> tuple[Engine, schema.Options]:
    """Open the file for reading; each statement sees what other processes have written to it.

    Returns and raises what ``sqlite.opened`` does.
    """
    path = Path(str(url.database))
    options = {"creator": lambda: _connection(path), "poolclass": NullPool}
    engine = create_engine(url, **options)
    if schema.version(engine) != schema.newest():
        schema.require(url.render_as_string(hide_password=False), options, create=False)
    outages.watch(engine, path)
    return engine, options


def attach_empty_tables(engine: Engine, tables: Sequence[Table]) -> None:
    """Make connections find an empty table for each of ``tables`` that the database lacks."""
    lent = (table.to_metadata(MetaData(), schema="lent") for table in tables)
    made = [str(CreateTable(table).compile(engine)) for table in lent]

    def attach(connection: Any, _record: object) -> None:
        connection.execute("ATTACH ':memory:' AS lent")  # names resolve to the file first
        for statement in made:
            connection.execute(statement)

    event.listen(engine, "connect", attach)


def _connection(path: Path) -> sqlite3.Connection:
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    behind = log.exists() and log.stat().st_size > 0
    if behind and not index.exists():
        raise StorageError(
            f"{path} lacks what {log.name} holds, and {path.parent} cannot be written to",
            key="storage.url",
            hint="copy both files to a directory of your own",
        )
    how = "mode=ro" if behind or index.exists() else "immutable=1"
    return sqlite3.connect(
        f"{path.as_uri()}?{how}", uri=True, check_same_thread=False, isolation_level=None
    )
