"""The table of workers: who lives, where, and which trial each of them holds.

One row a worker, beside Optuna's tables in the same database.  A row's trial is leased until the
row has been silent for ``grace`` seconds; all times are the database's own clock, so machines need
not agree on theirs.  Optuna's heartbeats are not used: they miss a trial whose worker dies before
its first beat, are looked at only before an ask, and crash a worker that was merely paused.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Double, Integer, MetaData, String, Table

workers = Table(
    "tuner_workers",
    MetaData(),
    Column("id", String(64), primary_key=True),
    Column("study_id", Integer, nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(64), nullable=False),
    Column("started", Double, nullable=False),
    Column("beat", Double, nullable=False),
    Column("trial_id", Integer),
    Column("trial_number", Integer),
)

NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())",
    "mysql": "unix_timestamp(now(6))",
    "mariadb": "unix_timestamp(now(6))",
}


@dataclass(frozen=True)
class Worker:
    """A row of the table, with whether it has been heard of lately."""

    id: str
    host: str
    pid: int
    device: str
    started: float
    beat: float
    """Seconds since the epoch, by the database's clock; negative once it was seen to die."""
    trial_id: int | None
    trial_number: int | None
    """That of the configuration, by which people know it, whichever attempt runs."""
    alive: bool
    silent: float
    """Seconds since it was last heard of, by the database's clock."""

    @property
    def expired(self) -> bool:
        """Whether it was seen to die, and not merely not heard of."""
        return self.beat <= 0


class Leases:
    """The rows of one study."""

    def __init__(self, engine: sa.Engine, single: sa.Engine, study_id: int, grace: float) -> None:
        self.engine = engine
        self.single = single
        """The same without transactions."""
        self.study_id = study_id
        self.grace = grace
        self.heard = self.since = 0.0
        """By our own clock: when the database last answered, and since when without a long gap."""
        self.now: sa.ColumnElement[float] = sa.literal_column(NOW[engine.dialect.name])

    def join(self, worker: str, host: str, pid: int, device: str) -> None:
        """Enter a worker, or enter it again after it was counted as lost."""
        with self.engine.begin() as connection:
            self.enter(connection, worker, host, pid, device)

    def enter(self, connection: Connection, worker: str, host: str, pid: int, device: str) -> None:
        """The same within a transaction."""
        row = {"study_id": self.study_id, "host": host, "pid": pid, "device": device}
        connection.execute(sa.delete(workers).where(workers.c.id == worker))
        connection.execute(
            sa.insert(workers).values(id=worker, started=self.now, beat=self.now, **row)
        )
        self._answered(anew=True)

    def beat(self, worker: str) -> bool:
        """A sign of life; False if the worker was counted as lost in the meantime."""
        return self._update(worker, beat=self.now)

    def hold(
        self,
        worker: str,
        trial_id: int | None,
        number: int | None,
        connection: Connection | None = None,
    ) -> bool:
        """Lease a trial, or with None give it back; False if the worker was counted as lost."""
        held = {"trial_id": trial_id, "trial_number": number, "beat": self.now}
        return self._update(worker, connection, **held)

    def expire(self, worker: str) -> bool:
        """Count a worker, and all places of its process, as lost: its supervisor saw it die.

        False if it had struck itself out before.
        """
        mine = sa.and_(
            workers.c.study_id == self.study_id,
            sa.or_(workers.c.id == worker, workers.c.id.startswith(f"{worker}.", autoescape=True)),
        )
        gone = {"beat": -sa.func.abs(workers.c.beat)}
        with self.single.connect() as connection:
            done = connection.execute(sa.update(workers).where(mine).values(gone))
        return bool(done.rowcount)

    def leave(self, worker: str, connection: Connection | None = None) -> None:
        """Strike a worker out."""
        with self._on(connection) as at:
            at.execute(sa.delete(workers).where(workers.c.id == worker))

    def steady(self) -> bool:
        """Whether the silence of others says anything.

        After an outage, or a pause of this machine, the first to be back would count all others
        as lost; so it waits until they have had the time to be heard.
        """
        now = time.time()
        return now - self.heard <= self.grace / 2 and now - self.since >= self.grace / 3

    def all(self) -> list[Worker]:
        """All rows, longest at work first."""
        with self.single.connect() as connection:
            return self.rows(connection)

    def rows(self, connection: Connection) -> list[Worker]:
        """The same within a transaction."""
        alive = (workers.c.beat > self.now - self.grace).label("alive")
        silent = (self.now - sa.func.abs(workers.c.beat)).label("silent")
        query = (
            sa.select(*(c for c in workers.c if c.name != "study_id"), alive, silent)
            .where(workers.c.study_id == self.study_id)
            .order_by(workers.c.started, workers.c.id)
        )
        rows = connection.execute(query).mappings().all()
        return [Worker(**{**row, "alive": bool(row["alive"])}) for row in rows]

    def _update(self, worker: str, connection: Connection | None = None, **values: Any) -> bool:
        with self._on(connection) as at:
            done = at.execute(sa.update(workers).where(workers.c.id == worker).values(**values))
        self._answered()
        return bool(done.rowcount)

    @contextmanager
    def _on(self, connection: Connection | None) -> Iterator[Connection]:
        """The transaction that is given, or a connection whose statements stand alone."""
        if connection is not None:
            yield connection
            return
        with self.single.connect() as own:
            yield own

    def _answered(self, *, anew: bool = False) -> None:
        now = time.time()
        if anew or now - self.heard > self.grace / 2:
            self.since = now
        self.heard = now
