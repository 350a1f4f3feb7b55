"""Record a study's trials in a tracker such as TensorBoard, one run per configuration.

Each trial passes data to its tracker in a separate thread: a server that is slow or unreachable
does not delay training, and its errors cost curves in the tracker, not the trial.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from tuner.log import log

PATIENCE = 10.0
"""Seconds that the end of a trial waits for pending writes."""
SETTING_UP = 60.0
"""Seconds that a search waits for its tracker at first; a new MLflow database takes about 15."""


@dataclass(frozen=True)
class Run:
    """A run of the tracker: one configuration, regardless of the attempt."""

    study: str
    uid: str
    """The uid of the study, which is unique, unlike its name."""
    number: int
    params: Mapping[str, str]
    before: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Steps of earlier attempts, because a killed process may not have written its last ones."""

    @property
    def name(self) -> str:
        return f"{self.study}-{self.number:05d}"


class Written(Protocol):
    """An open run of the tracker."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def close(self, state: str | None) -> None:
        """Close the run; ``state`` is complete, pruned or failed, None if it will be resumed."""


@runtime_checkable
class Tracker(Protocol):
    """The interface of the options of ``tracking``."""

    def prepare(self) -> None:
        """Create what the workers share, before they start and could create it concurrently."""

    def begin(self, run: Run) -> Written | None:
        """Start a run, or resume it."""


class Nothing:
    """The option ``tracking=none``."""

    def prepare(self) -> None:
        """Do nothing."""

    def begin(self, run: Run) -> None:
        return None


class Track:
    """Passes a trial's reports to its tracker, in order, without waiting for it."""

    patience: ClassVar[float] = PATIENCE
    """Seconds to wait; 0 once a tracker has exceeded it, so that later trials do not wait."""

    def __init__(self, tracker: Tracker, run: Run) -> None:
        self.calls: queue.SimpleQueue[Callable[[Written], None] | None] = queue.SimpleQueue()
        self.ended = False
        self.thread = threading.Thread(
            target=self._follow, args=(tracker, run), name="tuner-tracking", daemon=True
        )
        self.thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass on the metrics of a step."""
        told = dict(metrics)
        self.calls.put(lambda written: written.metrics(step, told))

    def end(self, state: str | None) -> None:
        """Pass on the outcome, once, and wait a limited time for the tracker."""
        if self.ended:
            return
        self.ended = True
        self.calls.put(lambda written: written.close(state))
        self.calls.put(None)
        self.thread.join(Track.patience)
        if self.thread.is_alive():
            log.warning("tracking: not waiting for data that is still to be written")
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
            log.warning("tracking: %s was not written: %s", run.name, _told(error))


class Silent:
    """A track without a tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def end(self, state: str | None) -> None:
        """Do nothing."""


def prepare(tracker: Tracker) -> None:
    """Create what the workers will share; errors are logged and do not stop the workers."""

    def attempt() -> None:
        try:
            tracker.prepare()
        except Exception as error:
            log.warning("tracking: nothing is written because of this error: %s", _told(error))

    thread = threading.Thread(target=attempt, name="tuner-tracking", daemon=True)
    thread.start()
    thread.join(SETTING_UP)
    if thread.is_alive():
        log.warning("tracking: no answer for %.0f s; the search starts without it", SETTING_UP)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def directories(tracker: Tracker) -> list[tuple[str, Path]]:
    """Return the local directories that a tracker writes to, by configuration key.

    Trackers without an attribute ``directories`` do not declare any.
    """
    told = getattr(tracker, "directories", None)
    return list(told()) if told is not None else []


def begin(tracker: Tracker, run: Run) -> Track | Silent:
    """Return the track of a trial, to log its steps and its outcome."""
    return Silent() if isinstance(tracker, Nothing) else Track(tracker, run)


def typed(text: str) -> float | str:
    """Return a parameter that is a number as such, so that a tracker draws an axis for it."""
    try:
        return float(text)
    except ValueError:
        return text
