"""A study's trials in a tracker such as TensorBoard, a run for each configuration.

A tracker is told from a thread of its own, one a trial: a server that is slow or away never holds
up the training, and what goes wrong costs curves elsewhere, not the trial.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from tuner.log import log

PATIENCE = 10.0
"""Seconds that the end of a trial waits for what is still to be written."""
SETTING_UP = 60.0
"""Seconds that a search waits for its tracker at its start; a new MLflow database takes some 15."""


@dataclass(frozen=True)
class Run:
    """A configuration, whichever attempt at it this is."""

    study: str
    uid: str
    """Of the study: names return, this does not."""
    number: int
    params: Mapping[str, str]
    before: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Steps of earlier attempts: a process that was killed may not have written its last."""

    @property
    def name(self) -> str:
        return f"{self.study}-{self.number:05d}"


class Written(Protocol):
    """A run that is being written."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def close(self, fate: str | None) -> None:
        """``fate`` is complete, pruned or failed; None where another attempt goes on."""


@runtime_checkable
class Tracker(Protocol):
    """What ``tracking`` names."""

    def prepare(self) -> None:
        """Before the workers start: make what they share, which two of them must not do at once."""

    def begin(self, run: Run) -> Written | None:
        """Begin a run, or go on with it."""


class Nothing:
    """``tracking=none``."""

    def prepare(self) -> None:
        """Nothing."""

    def begin(self, run: Run) -> None:
        return None


class Track:
    """Passes what a trial reports on to its tracker, in order, without waiting for it."""

    patience: ClassVar[float] = PATIENCE
    """None is left once a tracker was not done in time: the trials after it do not wait."""

    def __init__(self, tracker: Tracker, run: Run) -> None:
        self.calls: queue.SimpleQueue[Callable[[Written], None] | None] = queue.SimpleQueue()
        self.ended = False
        self.thread = threading.Thread(
            target=self._follow, args=(tracker, run), name="tuner-tracking", daemon=True
        )
        self.thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass on a step's metrics."""
        told = dict(metrics)
        self.calls.put(lambda written: written.metrics(step, told))

    def end(self, fate: str | None) -> None:
        """Pass on how it ended, and wait a little for the tracker to write it all; only once."""
        if self.ended:
            return
        self.ended = True
        self.calls.put(lambda written: written.close(fate))
        self.calls.put(None)
        self.thread.join(Track.patience)
        if self.thread.is_alive():
            log.warning("tracking: what is still to be written is not waited for")
            Track.patience = 0.0

    def _follow(self, tracker: Tracker, run: Run) -> None:
        try:
            written = tracker.begin(run)
            for step, metrics in run.before.items():
                if written is not None:
                    written.metrics(step, metrics)
            while (call := self.calls.get()) is not None:
                if written is not None:
                    call(written)
        except Exception as error:
            log.warning("tracking: %s is not written: %s", run.name, _told(error))


class Silent:
    """No tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def end(self, fate: str | None) -> None:
        """Nothing."""


def prepare(tracker: Tracker) -> None:
    """Make what the workers will share; what goes wrong is said, and does not keep them waiting."""

    def attempt() -> None:
        try:
            tracker.prepare()
        except Exception as error:
            log.warning("tracking: nothing is written until this is mended: %s", _told(error))

    thread = threading.Thread(target=attempt, name="tuner-tracking", daemon=True)
    thread.start()
    thread.join(SETTING_UP)
    if thread.is_alive():
        log.warning("tracking: no answer for %.0f s; the search begins without it", SETTING_UP)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def directories(tracker: Tracker) -> list[tuple[str, Path]]:
    """Directories of this machine that it writes to, by the key that names each.

    A tracker that has no ``directories`` keeps them to itself.
    """
    told = getattr(tracker, "directories", None)
    return list(told()) if told is not None else []


def begin(tracker: Tracker, run: Run) -> Track | Silent:
    """Where to log a trial's steps, and to say what became of it."""
    return Silent() if isinstance(tracker, Nothing) else Track(tracker, run)
