"""What every launcher offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Order:
    """What to start: the same command, any number of times."""

    command: Sequence[str]
    log_dir: Path
    on_end: Callable[[str], bool]
    """Called with the id of a worker whose process has ended, so that a trial that it still holds
    is requeued now; says whether the worker had failed to strike itself out."""


class Job(Protocol):
    """Started workers."""

    def poll(self) -> bool:
        """Look after the workers; False once all of them have ended."""

    def stop(self, signal_number: int) -> None:
        """Ask all workers to leave; they checkpoint and requeue their trials."""

    def kill(self) -> None:
        """End all workers at once."""

    @property
    def failure(self) -> str | None:
        """Why the job failed, or None."""


class Launcher(Protocol):
    """A way to start workers."""

    def start(self, order: Order) -> Job:
        """Start the workers."""

    def describe(self) -> str:
        """How many workers would be started, and where."""
