"""Waiting for a database that has gone away."""

import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from tuner.errors import StorageAway, StorageLost
from tuner.log import log

Result = TypeVar("Result")


class Patience:
    """Repeats a call while the database is away, with growing pauses, up to ``seconds``.

    Then it raises ``StorageLost``: a person must act, and no objective is to blame.

    Every call given to it must be safe to repeat: the connection may have died after the commit.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, call: Callable[[], Result]) -> Result:
        deadline = time.monotonic() + self.seconds
        pause = 0.2
        while True:
            try:
                return call()
            except (DBAPIError, StorageInternalError, StorageAway) as error:
                if not is_outage(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise StorageLost(
                        f"the database has been away for {self.seconds:g} s ({_brief(error)}); "
                        "hint: the same command goes on once it is back; storage.patience waits"
                    ) from error
                log.warning("the database is away (%s); next try in %.1f s", _brief(error), pause)
                time.sleep(pause)
                pause = min(pause * 2, 10.0)


def is_outage(error: BaseException) -> bool:
    """Whether the error tells of a lost or refused connection or lock, not of a wrong statement."""
    if isinstance(error, StorageAway):
        return True
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError) or (
        isinstance(cause, DBAPIError) and cause.connection_invalidated
    )


def _brief(error: BaseException) -> str:
    cause = getattr(error.__cause__ or error, "orig", None) or error
    return type(cause).__name__
