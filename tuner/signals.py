"""How a worker is asked to leave: a first signal is heard and answered, a second one ends it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from tuner.log import log

SHOW_CURSOR = b"\x1b[?25h\n"
"""What a live view has hidden, and nobody is left to show again."""


class Signals:
    """SIGTERM and SIGINT set a flag; a second one leaves at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.heard: SimpleQueue[int | None] = SimpleQueue()  # a handler may put, but not log

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
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signals.note) for number in numbers}
    answering = threading.Thread(target=signals.answer, name="tuner-signals", daemon=True)
    answering.start()
    try:
        yield signals
    finally:
        signals.heard.put(None)
        answering.join(1.0)
        for number, handler in before.items():
            signal.signal(number, handler)
