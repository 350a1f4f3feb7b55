"""How long was worked on a study: the seconds with a worker at work, and those of each device.

A row for the study and one for each device add up the union of the intervals that their workers
book, by the database's own clock; while nobody works no time passes.  Workers book every few beats
and as they leave, so that one which is killed loses the seconds since.
"""

import time
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy import Column, Double, Integer, MetaData, String, Table
from sqlalchemy.exc import IntegrityError

from tuner.budget import Times
from tuner.leases import NOW

clocks = Table(
    "tuner_clocks",
    MetaData(),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("touched", Double, nullable=False),
)
STUDY = ""
"""Name of the row that is the study's own, not a device's."""


class Clock:
    """The clocks of one study."""

    def __init__(self, engine: sa.Engine, study_id: int) -> None:
        self.engine = engine
        self.study_id = study_id
        self.now: sa.ColumnElement[float] = sa.literal_column(NOW[engine.dialect.name])

    def read(self, connection: sa.Connection) -> Times:
        """The sums as they are booked."""
        query = sa.select(clocks.c.name, clocks.c.seconds).where(clocks.c.study_id == self.study_id)
        seconds = {name: value / 3600 for name, value in connection.execute(query).all()}
        return Times(seconds.pop(STUDY, 0.0), sum(seconds.values()))

    def start(self, device: str, count: int = 1) -> "Shift":
        """Start to work on ``count`` devices of one name."""
        for name in (STUDY, device):
            self._enter(name)
        return Shift(self, {STUDY: 1, device: count})

    def _enter(self, name: str) -> None:
        """Make a row if it is missing; another worker may make it at the same moment."""
        row = {"study_id": self.study_id, "name": name}
        with suppress(IntegrityError), self.engine.begin() as connection:
            if connection.execute(sa.select(clocks.c.name).filter_by(**row)).first() is None:
                connection.execute(sa.insert(clocks).values(**row, seconds=0.0, touched=0.0))

    def book(
        self, rates: dict[str, int], since: float | None, at_most: float
    ) -> tuple[float, Times]:
        """Book the time from ``since`` to now, at most so many seconds; returns now and the sums.

        Time that another worker has booked in the same row is not booked again.  Without ``since``
        nothing is booked, nor is a row touched: others' time up to now is theirs to book.
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
        """Book what was worked since the last time; a machine that slept did not work."""
        at = time.monotonic()
        self.since, self.booked = self.clock.book(self.rates, self.since, at - self.booked_at)
        self.booked_at = at

    def times(self) -> Times:
        """The hours by now, without asking the database: others' since the last booking lack."""
        more = (time.monotonic() - self.booked_at) / 3600
        own = sum(rate for name, rate in self.rates.items() if name != STUDY)
        return Times(self.booked.hours + more, self.booked.device_hours + own * more)
