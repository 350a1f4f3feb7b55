"""How a process is asked to leave: a first signal is heard and answered, a second one ends it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from tuner.log import log

SHOW_CURSOR = b"\x1b[?25h\n"
"""What a live view has hidden, and nobody is left to show again."""


Heard = SimpleQueue[int | None]
"""Signals that came, and None at the end.  A handler runs between any two instructions of the main
thread, whatever locks that holds: it may put here, but must not log, wait or end anything."""


@contextmanager
def listening(
    note: Callable[[int, FrameType | None], object], obey: Callable[[], object], heard: Heard
) -> Iterator[None]:
    """SIGTERM and SIGINT go to ``note``, and a thread of ``obey`` does what they ask for.

    It reads ``heard`` until None comes, and is waited for.
    """
    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)}
    obeying = threading.Thread(target=obey, name="tuner-signals", daemon=True)
    obeying.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.put(None)
        obeying.join()


class Signals:
    """SIGTERM and SIGINT set a flag; a second one leaves at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.heard: Heard = SimpleQueue()

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        if self.received is not None:
            if os.isatty(2):
                os.write(2, SHOW_CURSOR)
            os._exit(128 + number)
        self.received = number
        self.heard.put(number)

    def answer(self) -> None:
        """Say that a signal was heard: until the objective's next report nothing else shows it."""
        if (number := self.heard.get()) is not None:
            log.warning(
                "stopping (%s): the trial is saved and queued again at its next report; a second "
                "signal leaves at once, and it goes on from its last checkpoint",
                signal.Signals(number).name,
            )

    def reason(self) -> str | None:
        return signal.Signals(self.received).name if self.received is not None else None

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a signal comes."""
        end = time.monotonic() + seconds
        while self.received is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left))


@contextmanager
def captured() -> Iterator[Signals]:
    """Take over SIGTERM and SIGINT, and give them back."""
    signals = Signals()
    with listening(signals.note, signals.answer, signals.heard):
        yield signals
