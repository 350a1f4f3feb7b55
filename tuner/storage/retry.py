"""Retry calls during an outage of the database, and log the outage once."""

import random
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tuner.errors import StorageLost
from tuner.log import log
from tuner.storage import outages

Result = TypeVar("Result")

JITTER = random.SystemRandom()
"""Source of the jitter that keeps workers from retrying at the same time. The global generator must
not be used: it is seeded for the trial.
"""


class Patience:
    """Retries a call during an outage of the database, for up to ``seconds``.

    The pauses double from 0.2 to 10 s; each is shortened at random, by up to half.

    If the outage lasts longer, or if a retry cannot help, a call raises ``StorageLost``: the
    objective is not at fault, and the user must act. All threads share one instance, so that each
    reason of an outage is logged once, and its end once no thread is waiting any more.

    Calls must be idempotent, because the connection may have been lost after the commit.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.guard = threading.Lock()
        self.waiting: set[object] = set()
        self.told: set[str] = set()
        self.since = 0.0

    def __call__(self, call: Callable[[], Result]) -> Result:
        deadline = time.monotonic() + self.seconds
        pause = 0.2
        who = object()
        try:
            while True:
                try:
                    result = call()
                except outages.FAILURES as error:
                    self.failed(who, error)
                    if time.monotonic() + pause > deadline:
                        raise self._lost(error) from error
                else:
                    self.answered(who)
                    return result
                time.sleep(JITTER.uniform(pause / 2, pause))
                pause = min(pause * 2, 10.0)
        finally:
            self.gone(who)

    def failed(self, who: object, error: BaseException) -> None:
        """Record that a call of ``who`` failed and will be retried.

        Raises:
            StorageLost: A retry would fail as well.
        """
        if not outages.is_outage(error):
            raise outages.lost(error) from error
        said = outages.reason(error)
        kind = re.sub(r"\d+", "0", said)
        with self.guard:
            if not self.waiting:
                self.told, self.since = set(), time.monotonic()
            self.waiting.add(who)
            if kind in self.told:
                return
            self.told.add(kind)
        log.warning("the database is unavailable: %s", said)

    def answered(self, who: object) -> None:
        """Record that a call of ``who`` succeeded."""
        if self.gone(who):
            log.warning(
                "the database is available again after %.0f s", time.monotonic() - self.since
            )

    def gone(self, who: object) -> bool:
        """Record that ``who`` no longer waits; return whether it was the last that waited."""
        with self.guard:
            waited = who in self.waiting
            self.waiting.discard(who)
            return waited and not self.waiting

    def _lost(self, error: BaseException) -> StorageLost:
        return StorageLost(
            f"the database was unavailable for {self.seconds:g} s ({outages.reason(error)})",
            hint="run the same command again once it is available; storage.patience is how many "
            "seconds a worker waits",
        )
