"""What every launcher offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.errors import ConfigError


@dataclass(frozen=True)
class Order:
    """What to start: the same command, any number of times."""

    command: Sequence[str]
    log_dir: Path
    """The output of worker ``k`` goes to ``worker-<k>.log`` in it, or to the next that is free."""
    on_end: Callable[[str], bool]
    """Called with the id of a worker whose process has ended, so that a trial that it still holds
    is requeued now; says whether the worker had failed to strike itself out.  Ids may go on after
    a dot: the id of a place stands for whoever worked there."""
    name: str
    """The study's, made unique: an engine finds the workers of an earlier command by it."""


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

    @property
    def where(self) -> str:
        """Where the workers are, and their logs, for people."""


class Launcher(Protocol):
    """A way to start workers."""

    @property
    def spread(self) -> bool:
        """Whether workers may come to lie on other machines than this one."""

    @property
    def detach(self) -> bool:
        """Whether the command that starts the workers returns and leaves them to the engine."""

    def describe(self) -> str:
        """How many workers would be started, and where; asks the engine, and starts nothing.

        Raises ConfigError where the engine is not there or would refuse, LaunchError where it
        does not answer.
        """

    def start(self, order: Order) -> Job:
        """Start the workers, or join those of an earlier command that an engine still runs."""


def at_least(least: int, **values: float) -> None:
    """Raise ConfigError for the first ``launch.<name>`` below ``least``."""
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"launch.{name}: must be at least {least}, got {value}")


def last_line(path: Path) -> str:
    """What a log ends with, or where it should be."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"see {path}"
