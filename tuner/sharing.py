"""Workers that share a device: they run side by side, and one that needs it alone gets a turn.

A trial that runs out of memory beside others may well fit alone, so it is tried again by itself
before it is called infeasible.  The launcher names the device's lock file in ``TUNER_SHARED``; the
locks are advisory file locks of this machine, released when their holder dies.
"""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tuner.errors import Preempted

SHARED = "TUNER_SHARED"
MEMORY_FRACTION = "TUNER_MEMORY_FRACTION"
"""Share of a device's memory that a worker's process may take; the trainer obeys it."""
POLL = 0.1
"""Seconds between two looks at a lock, so that a signal can be answered while waiting."""


def place(device: str) -> str:
    """What ``TUNER_SHARED`` says to the user's processes on a device of this machine.

    ``device`` is the name of a GPU (of ``MIG-GPU-…/1/0`` too), ``cpu``, or that of a process.
    """
    name = re.sub(r"[^\w.-]", "-", device)
    return f"{tempfile.gettempdir()}/tuner-{os.getuid()}-{name}"


def is_shared() -> bool:
    """Whether other workers use this process's device."""
    return SHARED in os.environ


@contextmanager
def turn(preempted: Callable[[], str | None], *, alone: bool = False) -> Iterator[None]:
    """Use the device beside others, or once they have all ended their trials, ``alone``.

    Raises ``Preempted`` if the process is asked to leave while it waits.
    """
    with ExitStack() as held:
        if is_shared():
            gate, device = (
                held.enter_context(open(f"{os.environ[SHARED]}.{name}", "a"))
                for name in ("gate", "device")
            )
            # Whoever waits for the device alone keeps the gate shut: nobody slips in before it.
            _lock(gate.fileno(), fcntl.LOCK_EX, preempted)
            _lock(device.fileno(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH, preempted)
            fcntl.flock(gate, fcntl.LOCK_UN)
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


def _lock(file: int, kind: int, preempted: Callable[[], str | None]) -> None:
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if reason := preempted():
                raise Preempted(reason) from None
            time.sleep(POLL)
