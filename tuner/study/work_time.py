"""Work-time accounting: seconds with at least one active worker, and seconds of each device.

One row for the study and one per device hold the union of the intervals that their workers book,
measured by the database's clock; time without workers does not count. Workers book every few
heartbeats and when they leave, so a killed worker loses only the seconds since its last booking.

The sums are also stored with the study, because ``optuna.copy_study`` copies only Optuna's tables.
"""

import json
import math
import time
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy import Column, Double, Integer, MetaData, String, Table
from sqlalchemy.exc import IntegrityError

from tuner.storage.shapes import decoded
from tuner.storage.tables import study_attributes as attributes
from tuner.storage.trial_storage import Trials
from tuner.study.budget import Times

clocks = Table(
    "tuner_clocks",
    MetaData(),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("touched", Double, nullable=False),
)
STUDY = ""
"""Name of the row of the study itself, not of a device."""

NOTED = "clock"
"""User attribute of a study: the seconds by row name."""


class Clock:
    """The work times of one study."""

    def __init__(self, storage: Trials, study_id: int) -> None:
        self.engine = storage.engine
        self.study_id = study_id
        self.now = storage.dialect.now

    def read(self, connection: sa.Connection) -> Times:
        """Return the booked sums; for a copied study, those stored with it."""
        seconds = self._booked(connection) or self._noted(connection)
        hours = {name: value / 3600 for name, value in seconds.items()}
        return Times(hours.pop(STUDY, 0.0), sum(hours.values()))

    def is_copied(self, connection: sa.Connection) -> bool:
        """Return whether the study has work time, but none from this database."""
        return not self._booked(connection) and bool(self._noted(connection))

    def start(self, device: str, count: int = 1) -> "Shift":
        """Start to count the work on ``count`` devices of one name."""
        with self.engine.connect() as connection:
            before = {} if self._booked(connection) else self._noted(connection)
        for name, seconds in ({STUDY: 0.0, device: 0.0} | before).items():
            self._enter(clocks, {"name": name}, seconds=seconds, touched=0.0)
        self._enter(attributes, {"key": NOTED}, value_json="{}")
        return Shift(self, {STUDY: 1, device: count})

    def _booked(self, connection: sa.Connection) -> dict[str, float]:
        query = sa.select(clocks.c.name, clocks.c.seconds).where(clocks.c.study_id == self.study_id)
        return {name: seconds for name, seconds in connection.execute(query).all()}

    def _noted(self, connection: sa.Connection) -> dict[str, float]:
        """Return the stored sums without malformed values, which any program may have written."""
        query = sa.select(attributes.c.value_json).filter_by(study_id=self.study_id, key=NOTED)
        found = decoded(connection.scalar(query) or "{}")
        return {
            name: float(seconds)
            for name, seconds in (found.items() if isinstance(found, dict) else ())
            if isinstance(seconds, int | float) and 0 <= seconds < math.inf and len(name) <= 255
        }

    def _enter(self, table: sa.Table, key: dict[str, str], **values: object) -> None:
        """Insert a row if it is missing; another worker may insert it at the same moment."""
        row = {"study_id": self.study_id, **key}
        with suppress(IntegrityError), self.engine.begin() as connection:
            if connection.execute(sa.select(table.c.study_id).filter_by(**row)).first() is None:
                connection.execute(sa.insert(table).values(**row, **values))

    def book(
        self, rates: dict[str, int], since: float | None, at_most: float
    ) -> tuple[float, Times]:
        """Book the time from ``since`` to now, at most ``at_most`` seconds.

        Time that another worker has booked in the same row is not booked again. Without ``since``
        nothing is booked and no row is changed, so that other workers can still book the time up to
        now.

        Returns:
            The time now, and the sums.
        """
        with self.engine.begin() as connection:
            now = float(connection.execute(sa.select(self.now)).scalar_one())
            start = min(now, max(since or now, now - at_most))  # clocks are set back at times
            for name, rate in rates.items() if since is not None else ():
                unbooked = sa.case((clocks.c.touched > start, clocks.c.touched), else_=start)
                more = sa.case((clocks.c.touched < now, rate * (now - unbooked)), else_=0.0)
                latest = sa.case((clocks.c.touched < now, now), else_=clocks.c.touched)
                mine = (clocks.c.study_id == self.study_id) & (clocks.c.name == name)
                # In this order: MySQL sees what was assigned before in the same statement.
                connection.execute(
                    sa.update(clocks)
                    .where(mine)
                    .ordered_values(
                        (clocks.c.seconds, clocks.c.seconds + more), (clocks.c.touched, latest)
                    )
                )
            if since is not None:
                noted = sa.update(attributes).filter_by(study_id=self.study_id, key=NOTED)
                text = json.dumps(self._booked(connection))
                connection.execute(noted.values(value_json=text))
            return now, self.read(connection)


class Shift:
    """The work of one process on a study, from ``Clock.start`` on."""

    def __init__(self, clock: Clock, rates: dict[str, int]) -> None:
        self.clock = clock
        self.rates = rates
        self.since: float | None = None
        self.booked_at = time.monotonic()
        self.booked = Times()
        self.book()

    def book(self) -> None:
        """Book the work since the last booking, without time in which the machine was suspended."""
        at = time.monotonic()
        self.since, self.booked = self.clock.book(self.rates, self.since, at - self.booked_at)
        self.booked_at = at

    def times(self) -> Times:
        """Return the hours so far without querying the database.

        The latest bookings of other workers are not included.
        """
        more = (time.monotonic() - self.booked_at) / 3600
        own = sum(rate for name, rate in self.rates.items() if name != STUDY)
        return Times(self.booked.hours + more, self.booked.device_hours + own * more)
