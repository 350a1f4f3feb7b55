"""The differences between the SQL databases: SQLite, PostgreSQL, MySQL and MariaDB.

To support another server, add a subclass of ``Dialect`` to ``DIALECTS`` and its driver to
``DRIVERS``; ``outages`` has the error codes.
"""

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from tuner.errors import StorageAway
from tuner.files import locked

DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg"),
    "mysql": ("mysql+pymysql", "pymysql"),
    "mariadb": ("mariadb+pymysql", "pymysql"),
}
"""Server → the prefix of its URL with the driver that an extra installs, and that driver."""

ONE_STATEMENT = "tuner_single"
"""Execution option of a SQLite engine in which each statement is its own transaction."""

LOCK_TIMEOUT = 120.0
"""Seconds to wait for MySQL's lock."""


class Dialect(ABC):
    """The SQL and the locks of a database; a subclass overrides what differs in its own."""

    name: ClassVar[str]
    """SQLAlchemy's name of the dialect."""
    now: ClassVar[sa.ColumnElement[float]]
    """The seconds since the epoch by the database's clock, also within a transaction."""
    text: ClassVar[str] = "VARCHAR"
    """The type to which an enumeration is cast to be read as text."""
    row: ClassVar[str] = ""
    """The keyword before each tuple of a list of VALUES."""
    counts_rows: ClassVar[bool] = True
    """Whether the row count of several upserts is the number of their rows."""
    exclusive: ClassVar[Mapping[str, str]] = {}
    """Execution options with which reads under a lock see everything committed before."""

    def autocommit(self, engine: Engine) -> Engine:
        """Return the engine in a mode in which each statement is its own transaction."""
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[Connection]:
        """Yield a connection whose statements all see the database as it was at one moment."""
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    @abstractmethod
    def lock(self, engine: Engine, name: str) -> AbstractContextManager[None]:
        """Exclude all processes that create tables or studies; the lock ends with its holder.

        Raises:
            StorageAway: Another process holds it for ``LOCK_TIMEOUT`` (MySQL; elsewhere this
                waits).
        """

    def join(self, table: str, condition: str) -> str:
        """Return the SQL that joins a table, named ``t``, by the index of the condition."""
        return f"JOIN {table} t ON {condition}"

    def insert(self, table: sa.Table) -> Any:
        """Return the dialect's own INSERT; only a used one is imported, to save start-up time."""
        return importlib.import_module(f"sqlalchemy.dialects.{self.name}").insert(table)

    def selected(self, parameter: Any, type_: sa.types.TypeEngine[Any]) -> Any:
        """Return a parameter as a column of a SELECT."""
        return parameter

    def guard(self, query: Any, table: sa.Table) -> Any:
        """Return a query that lets changes of the rows it reads wait for the commit."""
        return query

    def replace(self, insert: Any, key: Sequence[str], columns: Sequence[str]) -> sa.Insert:
        """Return the INSERT as one that sets the columns of a row whose key exists."""
        changes = {column: insert.excluded[column] for column in columns}
        done: sa.Insert = insert.on_conflict_do_update(index_elements=key, set_=changes)
        return done


class SQLite(Dialect):
    """A file: all writers exclude each other."""

    name = "sqlite"
    now = sa.literal_column("(julianday('now') - 2440587.5) * 86400.0")

    def autocommit(self, engine: Engine) -> Engine:
        return engine.execution_options(**{ONE_STATEMENT: True})

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[Connection]:
        with self.autocommit(engine).connect() as connection:
            connection.exec_driver_sql("BEGIN")  # deferred: writers are not kept waiting
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def lock(self, engine: Engine, name: str) -> Iterator[None]:
        with locked(f"{engine.url.database}.lock"):
            yield


class PostgreSQL(Dialect):
    name = "postgresql"
    now = sa.literal_column("extract(epoch from clock_timestamp())")

    @contextmanager
    def lock(self, engine: Engine, name: str) -> Iterator[None]:
        number = int.from_bytes(_digest(name)[:8], "big", signed=True)
        with engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
            yield

    def join(self, table: str, condition: str) -> str:
        """Unless forced, PostgreSQL reads the whole table: three times slower for 256 of 3,000."""
        return f"CROSS JOIN LATERAL (SELECT * FROM {table} t WHERE {condition} OFFSET 0) t"

    def selected(self, parameter: Any, type_: sa.types.TypeEngine[Any]) -> Any:
        return sa.cast(parameter, type_)  # it infers no type from the column

    def guard(self, query: Any, table: sa.Table) -> Any:
        return query.with_for_update(read=True, of=table)  # the others lock it implicitly


class MySQL(Dialect):
    name = "mysql"
    now = sa.literal_column("unix_timestamp(now(6))")
    text = "CHAR"
    row = "ROW"
    counts_rows = False  # a changed row counts twice
    exclusive: ClassVar[Mapping[str, str]] = {"isolation_level": "READ COMMITTED"}

    @contextmanager
    def lock(self, engine: Engine, name: str) -> Iterator[None]:
        label = f"tuner:{_digest(name).hex()[:48]}"
        with engine.connect() as connection:
            taken = sa.select(sa.func.get_lock(label, LOCK_TIMEOUT))
            if connection.scalar(taken) != 1:  # 0: held by another; NULL: killed, or out of memory
                raise StorageAway(
                    f"the lock of {name!r} is held by another connection for over "
                    f"{LOCK_TIMEOUT:g} s",
                    hint="SHOW PROCESSLIST lists waiting and sleeping connections",
                )
            try:
                yield
            finally:
                with suppress(SQLAlchemyError):  # it went with its connection
                    connection.execute(sa.select(sa.func.release_lock(label)))

    def replace(self, insert: Any, key: Sequence[str], columns: Sequence[str]) -> sa.Insert:
        changes = {column: insert.inserted[column] for column in columns}
        done: sa.Insert = insert.on_duplicate_key_update(changes)
        return done


class MariaDB(MySQL):
    """SQLAlchemy gives it MySQL's name, and knows it from the first connection on."""

    row = ""


DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (SQLite(), PostgreSQL(), MySQL())}
MARIADB = MariaDB()


def of(bind: Engine | Connection) -> Dialect:
    """Return the dialect of an engine or a connection."""
    is_mariadb = getattr(bind.dialect, "is_mariadb", False)
    return MARIADB if is_mariadb else DIALECTS[bind.dialect.name]


def is_file(url: URL) -> bool:
    """Return whether the database is a file of SQLite, not on a server."""
    return url.get_backend_name() == SQLite.name


def _digest(name: str) -> bytes:
    return hashlib.sha256(f"tuner:{name}".encode()).digest()
