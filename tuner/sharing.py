"""Workers that share a device: they run side by side, and one that needs it alone gets a turn.

A trial that runs out of memory beside others may well fit alone, so it is tried again by itself
before it is called infeasible.  The launcher names the device's lock file in ``TUNER_SHARED``; the
locks are advisory file locks of this machine, released when their holder dies.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tuner.environment import MEMORY_FRACTION, SHARED
from tuner.errors import Preempted
from tuner.files import locked

POLL = 0.1
"""Seconds between two looks at a lock, so that a signal can be answered while waiting."""


def is_shared() -> bool:
    """Whether other workers use this process's device."""
    return SHARED in os.environ


@contextmanager
def turn(preempted: Callable[[], str | None], *, alone: bool = False) -> Iterator[None]:
    """Use the device beside others, or once they have all ended their trials, ``alone``.

    Raises ``Preempted`` if the process is asked to leave while it waits.
    """

    def pause() -> None:
        if reason := preempted():
            raise Preempted(reason)
        time.sleep(POLL)

    with ExitStack() as held:
        if is_shared():
            path = os.environ[SHARED]
            # Whoever waits for the device alone keeps the gate shut: nobody slips in before it.
            with locked(f"{path}.gate", pause=pause):
                held.enter_context(locked(f"{path}.device", shared=not alone, pause=pause))
        if alone:
            held.enter_context(_whole_memory())
        yield


@contextmanager
def _whole_memory() -> Iterator[None]:
    """Lift the share of the device's memory that this process was given beside others."""
    given = os.environ.pop(MEMORY_FRACTION, None)
    try:
        yield
    finally:
        if given is not None:
            os.environ[MEMORY_FRACTION] = given
