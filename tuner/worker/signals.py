"""Ask a process to stop: the first signal is acknowledged, the second one ends the process."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from tuner.errors import Preempted
from tuner.log import log

SHOW_CURSOR = b"\x1b[?25h\n"
"""Escape sequence that shows the cursor again, which a live view has hidden."""


Heard = SimpleQueue[int | None]
"""A queue of received signals, and None at the end. A signal handler runs between any two
instructions of the main thread, which may hold locks. It may put into this queue, but must not log,
wait or end anything.
"""


@contextmanager
def listening(
    note: Callable[[int, FrameType | None], object], obey: Callable[[], object], heard: Heard
) -> Iterator[None]:
    """Pass SIGTERM and SIGINT to ``note``, and act on them in a thread that runs ``obey``.

    The thread reads ``heard`` until it gets None, and is joined at the end. Python handles signals
    only in the main thread; in another thread, no signals are passed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    heeded = (signal.SIGTERM, signal.SIGINT) if is_main else ()
    before = {n: signal.signal(n, note) for n in heeded}
    obeying = threading.Thread(target=obey, name="tuner-signals", daemon=True)
    obeying.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.put(None)
        obeying.join()


def exit_now(number: int) -> None:
    """End this process because of a second signal."""
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)
    os._exit(128 + number)


def preempt(number: int) -> None:
    """Raise ``Preempted`` in the main thread: the trial is requeued, and this process continues."""
    raise Preempted(signal.Signals(number).name)


class Signals:
    """Records SIGTERM and SIGINT; a second signal calls ``leave`` at once."""

    def __init__(self, leave: Callable[[int], None] = exit_now) -> None:
        self.received: int | None = None
        self.asked: str | None = None
        """The reason why this process must leave without a signal."""
        self.code = 0
        """Exit code of this process if it leaves without a signal."""
        self.leave = leave
        self.heard: Heard = SimpleQueue()

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        if self.received is not None:
            self.leave(number)
        self.received = number
        self.heard.put(number)

    def answer(self) -> None:
        """Acknowledge a signal, because the objective's next report may be far away."""
        if (number := self.heard.get()) is not None:
            log.warning(
                "stopping (%s): the trial is checkpointed and requeued at its next report; "
                "a second signal exits at once, and the trial resumes from its last checkpoint",
                signal.Signals(number).name,
            )

    def ask(self, reason: str, code: int = 0) -> None:
        """Ask this process to leave without a signal; the last request counts."""
        self.asked, self.code = reason, code

    def reason(self) -> str | None:
        """Return why this process must leave, None if it need not."""
        return self.asked if self.received is None else signal.Signals(self.received).name

    def wait(self, seconds: float) -> None:
        """Sleep for some seconds, or until a signal arrives."""
        end = time.monotonic() + seconds
        while self.reason() is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left))


@contextmanager
def captured(leave: Callable[[int], None] = exit_now) -> Iterator[Signals]:
    """Handle SIGTERM and SIGINT in the block, and restore their handlers afterwards."""
    signals = Signals(leave)
    with listening(signals.note, signals.answer, signals.heard):
        yield signals
