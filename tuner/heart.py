"""The signs of life of a worker, beside its work."""

import os
import signal
import threading
import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from tuner.clock import Shift
from tuner.errors import StorageError, StorageLost
from tuner.log import log
from tuner.signals import Signals
from tuner.sql import outages
from tuner.study import Study

BOOKED_EVERY = 6
"""Beats between two bookings of the time worked: all workers of a study write one row."""

UNUSABLE = (SQLAlchemyError, StorageError)
"""What may be raised where a database is told a last word."""


class Heart(threading.Thread):
    """Beats until stopped; a database that is away for a while does not kill it.

    With each beat it sees whether the database is still the study's.
    """

    def __init__(
        self,
        study: Study,
        worker: str,
        interval: float,
        signals: Signals,
        shift: Shift,
        supervisor: int,
    ) -> None:
        super().__init__(name="tuner-heart", daemon=True)
        self.study, self.worker, self.interval, self.signals = study, worker, interval, signals
        self.shift = shift
        self.lost = False
        self.error: StorageLost | None = None
        """Why the database is of no use any more."""
        self.leases = 0
        self.tried = time.time()
        self.stopped = threading.Event()
        self.supervisor = supervisor
        """The process that started this one, in which case it leaves with it; or 0."""

    def run(self) -> None:
        beats = 0
        while not self.stopped.wait(self.interval):
            beats += 1
            if self.supervisor and os.getppid() != self.supervisor:
                log.warning("the supervisor is gone; leaving")
                self.supervisor = 0
                self.signals.received = self.signals.received or signal.SIGTERM
            self.beat()
            if beats % BOOKED_EVERY == 0:
                with suppress(*UNUSABLE):  # the next time books this one too
                    self.shift.book()

    def beat(self) -> None:
        self.tried = time.time()
        lease = self.leases
        try:
            try:
                self.study.verify()
                if not self.study.leases.beat(self.worker) and lease == self.leases:
                    self.lost = True
            except outages.FAILURES as error:
                self.study.patience.failed(self, error)
            else:
                self.study.patience.answered(self)
        except StorageLost as error:
            self.error = error

    def check(self) -> None:
        """Raise ``StorageLost`` if the last beat has found that the database is."""
        if self.error is not None:
            raise self.error

    def is_lost(self) -> bool:
        """Whether the lease has run out; after a pause of this process it is asked at once.

        Raises as ``check`` does.
        """
        if time.time() - self.tried > max(2 * self.interval, self.study.leases.grace / 2):
            self.beat()
        self.check()
        return self.lost

    def renew(self) -> None:
        """A new lease was taken: what a beat finds out about the one before no longer counts."""
        self.leases += 1
        self.lost = False

    def stop(self) -> None:
        self.stopped.set()
        self.join()
        self.study.patience.gone(self)
        with suppress(*UNUSABLE):  # nothing but the last seconds is lost
            self.shift.book()
