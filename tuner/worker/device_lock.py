"""Share a device between workers, and give one of them exclusive access when it needs it.

A trial that runs out of memory while sharing the device may fit alone, so it is retried with
exclusive access before it is considered infeasible. The launcher names the device's lock file in
``TUNER_SHARED``; the locks are advisory file locks of this machine, released when their holder
dies.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tuner.environment import MEMORY_FRACTION, SHARED
from tuner.errors import Preempted
from tuner.files import locked

POLL = 0.1
"""Seconds between two attempts to get a lock, so that signals are handled while waiting."""


def is_shared() -> bool:
    """Return whether other workers use this process's device."""
    return SHARED in os.environ


@contextmanager
def hold(preempted: Callable[[], str | None], *, exclusive: bool = False) -> Iterator[None]:
    """Hold the device lock in the block, shared or (``exclusive``) exclusive.

    Raises:
        Preempted: The process was asked to stop while it waited.
    """

    def pause() -> None:
        if reason := preempted():
            raise Preempted(reason)
        time.sleep(POLL)

    with ExitStack() as held:
        if is_shared():
            path = os.environ[SHARED]
            # A process that waits for exclusive access keeps the gate shut for all others.
            with locked(f"{path}.gate", pause=pause):
                held.enter_context(locked(f"{path}.device", shared=not exclusive, pause=pause))
        if exclusive:
            held.enter_context(_whole_memory())
        yield


@contextmanager
def _whole_memory() -> Iterator[None]:
    """Lift the limit of this process's share of the device's memory."""
    given = os.environ.pop(MEMORY_FRACTION, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[MEMORY_FRACTION] = given
