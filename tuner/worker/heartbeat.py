"""The heartbeat of a worker, in a separate thread."""

import os
import signal
import threading
import time
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from tuner.errors import StorageError, StorageLost
from tuner.log import log
from tuner.storage import outages
from tuner.study.study import Study
from tuner.study.work_time import Shift
from tuner.worker.signals import Signals

BOOKED_EVERY = 6
"""Heartbeats between two updates of the work time, because all workers update one row."""

UNUSABLE = (SQLAlchemyError, StorageError)
"""Exceptions that a last write to the database may raise."""


class Heart(threading.Thread):
    """Renews the worker's lease until stopped, and survives outages of the database.

    Each heartbeat also checks that the database still holds the same study.
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
        """Why the database can no longer be used."""
        self.leases = 0
        self.tried = time.time()
        self.stopped = threading.Event()
        self.supervisor = supervisor
        """PID of the parent process; the worker exits when that ends. 0 for none."""

    def run(self) -> None:
        beats = 0
        while not self.stopped.wait(self.interval):
            beats += 1
            if self.supervisor and os.getppid() != self.supervisor:
                log.warning("the supervisor has ended; exiting")
                self.supervisor = 0
                self.signals.received = self.signals.received or signal.SIGTERM
            self.beat()
            if beats % BOOKED_EVERY == 0:
                with suppress(*UNUSABLE):  # the next booking includes this one
                    self.shift.book()

    def beat(self) -> None:
        self.tried = time.time()
        lease = self.leases
        try:
            try:
                self.study.verify()
                if self.study.is_stopped(self.worker):
                    self.signals.ask("the study was stopped")
                if not self.study.leases.beat(self.worker) and lease == self.leases:
                    self.lost = True
            except outages.FAILURES as error:
                self.study.patience.failed(self, error)
            else:
                self.study.patience.answered(self)
        except StorageLost as error:
            self.error = error

    def check(self) -> None:
        """Raise ``StorageLost`` if the last heartbeat found that the database is lost."""
        if self.error is not None:
            raise self.error

    def is_lost(self) -> bool:
        """Return whether the lease has expired; after a suspension, try to renew it first.

        Raises:
            StorageLost: The database is lost; see ``check``.
        """
        if time.time() - self.tried > max(2 * self.interval, self.study.leases.grace / 2):
            self.beat()
        self.check()
        return self.lost

    def renew(self) -> None:
        """Record a new lease, so that a heartbeat in progress does not report it as lost."""
        self.leases += 1
        self.lost = False

    def stop(self) -> None:
        self.stopped.set()
        self.join()
        self.study.patience.gone(self)
        with suppress(*UNUSABLE):  # only the last seconds are lost
            self.shift.book()
