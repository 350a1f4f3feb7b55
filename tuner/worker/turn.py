"""Turns: after ``worker.turn``, a worker leaves if other jobs wait for its slot."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.environment import GAVE_WAY, QUEUE
from tuner.log import brief, log
from tuner.study import start_cost
from tuner.study.study import Study
from tuner.worker.signals import Signals

ANSWER_WITHIN = 60.0
"""Seconds to wait for the list of waiting jobs; without an answer, the worker continues."""

SPREAD = 1.5
"""A turn ends at a random time between its length and this multiple of it, so that the workers of a
study do not all leave for the same job.
"""

REASON = 100
"""Maximum number of characters of the first waiting job in the log."""


class Turn(threading.Thread):
    """Checks after each turn whether other jobs wait, and if so asks this process to leave."""

    def __init__(self, minutes: float, signals: Signals) -> None:
        super().__init__(name="tuner-turn", daemon=True)
        self.minutes, self.signals = minutes, signals
        self.ended = threading.Event()
        self.random = random.Random(os.urandom(8))  # the global generator belongs to the trial

    def run(self) -> None:
        while not self.ended.wait(60 * self.minutes * self.random.uniform(1, SPREAD)):
            told = waiting()
            if told is None or self.signals.reason() is not None:
                continue
            self.signals.ask(f"its turn of {self.minutes:g} min is over{told}", GAVE_WAY)
            return


def waiting() -> str | None:
    """Return a text on the waiting jobs for the log; None if there are none, or no answer.

    Without a command that queries the engine, a job is assumed to be waiting.
    """
    command = os.environ.get(QUEUE)
    if command is None:
        return ""
    try:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=ANSWER_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    jobs = done.stdout.splitlines()
    return f", {len(jobs)} waiting, the first: {brief(jobs[0], REASON)}" if jobs else None


@contextmanager
def limited(minutes: float | None, signals: Signals) -> Iterator[None]:
    """End the block by ``signals`` after a turn of ``minutes`` if jobs wait; None: never."""
    if minutes is None:
        yield
        return
    turn = Turn(minutes, signals)
    turn.start()
    try:
        yield
    finally:
        turn.ended.set()


class StartCost:
    """Measures what the start of a worker costs, and stores it with the study.

    That is the time until its first trial begins, without waiting for one, and from there to the
    first report, less the time from the first report to the second.
    """

    def __init__(self, study: Study, minutes: float | None) -> None:
        self.study, self.minutes = study, minutes
        self.until_ready = _age()
        self.first: tuple[float, float] | None = None
        """When the first report was made, and the cost up to it with its epoch."""
        self.known = False

    def reported(self, begun: float) -> None:
        """Note a new report of a trial that began at a time of the monotonic clock."""
        if self.known:
            return
        now = time.monotonic()
        if self.first is None:
            self.first = now, self.until_ready + now - begun
            return
        at, until_report = self.first
        self.known = True
        seconds = max(0.0, until_report - (now - at))
        self.study.patience(lambda: start_cost.note(self.study, seconds))
        if self.minutes is not None:
            tell = log.warning if start_cost.is_too_short(self.minutes, seconds) else log.info
            tell("worker.turn: %s", start_cost.describe(self.minutes, seconds))


def _age() -> float:
    """Return the seconds since this process started; 0 where the system does not tell."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return 0.0
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
