"""The table of workers: which are active, where they run, and which trial each of them holds.

It has one row per worker, in the same database as Optuna's tables. A row's trial is leased until
the row has had no heartbeat for ``grace`` seconds. All times are those of the database's clock, so
the clocks of machines may differ. Optuna's heartbeats are not used: they miss a trial whose worker
dies before its first heartbeat, are checked only before an ask, and crash a worker that was merely
suspended.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Double, Integer, MetaData, String, Table

from tuner.storage.trial_storage import Trials

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


@dataclass(frozen=True)
class Worker:
    """A row of the table, and whether it had a heartbeat recently."""

    id: str
    host: str
    pid: int
    device: str
    started: float
    beat: float
    """Last heartbeat, in seconds since 1970 by the database's clock; negative if its death was
    observed.
    """
    trial_id: int | None
    trial_number: int | None
    """Number of the configuration, whichever attempt runs."""
    alive: bool
    silent: float
    """Seconds since the last heartbeat, by the database's clock."""

    @property
    def expired(self) -> bool:
        """Whether the worker's death was observed, not only missing heartbeats."""
        return self.beat <= 0


class Leases:
    """The workers and leases of one study."""

    def __init__(self, storage: Trials, study_id: int, grace: float) -> None:
        self.engine, self.single = storage.engine, storage.single
        self.study_id = study_id
        self.grace = grace
        self.heard = self.since = 0.0
        """By this machine's clock: the time of the database's last answer, and the time since which
        it has answered without a long gap.
        """
        self.now = storage.dialect.now

    def join(self, worker: str, host: str, pid: int, device: str) -> None:
        """Register a worker, also again after it was considered lost."""
        with self.engine.begin() as connection:
            self.enter(connection, worker, host, pid, device)

    def enter(self, connection: Connection, worker: str, host: str, pid: int, device: str) -> None:
        """Register a worker within the given transaction."""
        row = {"study_id": self.study_id, "host": host, "pid": pid, "device": device}
        connection.execute(sa.delete(workers).where(workers.c.id == worker))
        connection.execute(
            sa.insert(workers).values(id=worker, started=self.now, beat=self.now, **row)
        )
        self._answered(again=True)

    def beat(self, worker: str) -> bool:
        """Send a heartbeat; return False if the worker was considered lost in the meantime."""
        return self._update(worker, beat=self.now)

    def hold(
        self,
        worker: str,
        trial_id: int | None,
        number: int | None,
        connection: Connection | None = None,
    ) -> bool:
        """Lease a trial, or return it with None; False if the worker was considered lost."""
        held = {"trial_id": trial_id, "trial_number": number, "beat": self.now}
        return self._update(worker, connection, **held)

    def expire(self, worker: str) -> bool:
        """Declare a worker and all places of its process lost, because its death was observed.

        Returns:
            False if the worker had unregistered itself before.
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
        """Unregister a worker."""
        with self._on(connection) as at:
            at.execute(sa.delete(workers).where(workers.c.id == worker))

    def steady(self) -> bool:
        """Return whether missing heartbeats of other workers are reliable evidence of their loss.

        After an outage, or a suspension of this machine, the first worker to return would consider
        all others lost. Therefore it waits until they have had time for a heartbeat.
        """
        now = time.time()
        return now - self.heard <= self.grace / 2 and now - self.since >= self.grace / 3

    def all(self) -> list[Worker]:
        """Return all rows, the longest active workers first."""
        with self.single.connect() as connection:
            return self.rows(connection)

    def rows(self, connection: Connection) -> list[Worker]:
        """Return all rows, read within the given transaction."""
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

    def _on(self, connection: Connection | None) -> AbstractContextManager[Connection]:
        """Use the given transaction, or else a connection in autocommit mode."""
        return self.single.connect() if connection is None else nullcontext(connection)

    def _answered(self, *, again: bool = False) -> None:
        now = time.time()
        if again or now - self.heard > self.grace / 2:
            self.since = now
        self.heard = now
