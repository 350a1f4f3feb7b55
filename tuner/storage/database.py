"""Open a SQL URL as a storage that many workers can share."""

import os
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tuner.config import directories
from tuner.errors import StorageAway, StorageError, StorageMissing
from tuner.files import locked
from tuner.storage import dialects, outages, read_only_sqlite, schema, sqlite, urls
from tuner.storage.trial_storage import Trials

TABLES = "tables"
"""Name of the lock under which tables are created."""

KEPT, MORE = 2, 2
"""Numbers of connections of a process to a server: those kept open, and temporary ones.

Under the study's lock a thread needs two; others write, by one for all, or send heartbeats.
"""

SERVER = {"pool_pre_ping": True, "pool_size": KEPT, "max_overflow": MORE}
"""Options of an engine on a server."""

ONCE = {"poolclass": NullPool}
"""Options of an engine that creates or checks tables, and leaves no connection if it fails."""


def connect(url: str, *, create: bool = True, write: bool = True) -> Trials:
    """Open the database and create missing tables.

    Args:
        create: Create a missing SQLite file.
        write: Require write access. Without it, a SQLite file must exist and may be read-only.

    Raises:
        StorageError: The database cannot be used.
    """
    parsed = urls.parse(url)
    if parsed.get_backend_name() == "mariadb":  # Optuna knows its dialect as mysql
        url = "mysql" + url.removeprefix("mariadb")
    try:
        if dialects.is_file(parsed):
            return _sqlite(parsed, create=create and write, write=write)
        engine = _server(url)
        outages.watch(engine)
        return Trials(engine, SERVER, _reopen)
    except (ImportError, TypeError) as error:
        if isinstance(error, TypeError) and "keyword" not in str(error):  # no option of a driver
            raise
        raise StorageError([urls.unusable(parsed, error)]) from error
    except UnicodeEncodeError as error:  # which shows a letter of what is a password, most likely
        raise StorageError(
            f"{urls.masked(url)}: the driver takes {error.encoding} characters only",
            key="storage.url",
            hint="give the user a password of ASCII characters",
        ) from None
    except (SQLAlchemyError, StorageInternalError, OSError, UnicodeDecodeError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        final, hint = urls.cure(parsed, reason)
        kind = StorageAway if outages.is_outage(error) and not final else StorageError
        told = f"cannot open {urls.masked(url)}: {reason}"
        raise kind(told, key="storage.url", hint=hint) from error
    except RuntimeError as error:  # raised by Optuna for another schema version
        raise StorageError(
            f"{urls.masked(url)}: {error}",
            key="storage.url",
            hint="upgrade an older database with optuna storage upgrade --storage URL; for a newer "
            "one, run pip install --upgrade optuna",
        ) from error


def _reopen(url: str) -> Trials:
    """Open the storage again in another process to which it was sent."""
    return connect(url)


def probe(url: str) -> None:
    """Raise ``StorageError`` if ``connect`` would fail; a SQLite file is not created."""
    parsed = urls.parse(url)
    path = Path(str(parsed.database)).absolute()
    if not dialects.is_file(parsed) or _is_there(path):
        connect(url).close()
        return
    _check_place(path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long
        raise StorageError(
            f"{error.strerror}: {path.name[:40]}…", key="storage.url", hint="name another file"
        ) from error


def _server(url: str) -> sqlalchemy.Engine:
    """Connect to a server; missing tables are created by one process, as two would collide."""
    engine = sqlalchemy.create_engine(url, **SERVER)
    try:
        found = schema.version(engine)
        if found is None:
            with dialects.of(engine).lock(engine, TABLES):
                schema.require(url, ONCE, create=schema.version(engine) is None)
        elif found != schema.newest():
            schema.require(url, ONCE, create=False)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_place(path: Path) -> None:
    """Raise ``StorageError`` if no SQLite database can be created at a path."""
    if not os.path.lexists(path) and (reason := directories.obstacle(path.parent)):
        raise StorageError(reason, key="storage.url", hint="set storage.url=… to another file")


def _sqlite(url: URL, *, create: bool, write: bool) -> Trials:
    given = Path(str(url.database))
    path = given.absolute()  # an objective may change the directory
    url = url.set(database=str(path))
    if not (create or path.exists()):
        hint = "tuner tune creates it; or run the command in the directory of the database"
        raise StorageMissing(f"there is no database {given}", key="storage.url", hint=hint)
    if refusal := read_only_sqlite.refusal(path):
        if write:
            raise StorageError([refusal])
        engine, options = read_only_sqlite.opened(url)
        return Trials(engine, options, _reopen, writable=False)
    _check_place(path)
    sqlite.check_file(path, create=create)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(f"{path}.lock"):  # two workers creating the tables at once would collide
        engine, options = sqlite.opened(url)
    return Trials(engine, options, _reopen)
