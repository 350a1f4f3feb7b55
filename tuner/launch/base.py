"""The interface of all launchers, and functions that they share."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol


class Process(Protocol):
    """A worker's process on this machine, with what launchers need of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def send_signal(self, sig: int) -> None: ...


Fork = Callable[[Sequence[str], Mapping[str, str], IO[bytes]], Process | None]
"""Returns a forked process of a command, with a whole environment and a log; None if it cannot."""


@dataclass(frozen=True)
class Order:
    """What to launch: the same command, any number of times."""

    command: Sequence[str]
    log_dir: Path
    """Directory of the logs: worker ``k`` writes to ``worker-<k>.log`` or the next free number."""
    on_end: Callable[[str], bool]
    """Callback to call with the id of a worker whose process has ended. It requeues the trial that
    the worker still holds, and returns whether the worker had failed to unregister itself. The
    id of a place also stands for all workers of that place, whose ids continue after a dot.
    """
    name: str
    """A unique name of the study, by which an engine finds the workers of an earlier command."""
    turns: bool = False
    """Whether workers end with ``environment.GAVE_WAY`` at times, and are to be queued again."""
    fork: Fork = lambda *_: None
    """How to start a worker on this machine without its imports; see ``fork_server``."""


class Job(Protocol):
    """The started workers of one command."""

    def poll(self) -> bool:
        """Supervise the workers; return False once all of them have ended."""

    def stop(self, signal_number: int) -> None:
        """Forward a signal to all workers, so that they checkpoint and requeue their trials."""

    def kill(self) -> None:
        """Kill all workers at once."""

    @property
    def failure(self) -> str | None:
        """Why the job has failed, or None."""

    @property
    def where(self) -> str:
        """A description of where the workers and their logs are, for users."""


class Launcher(Protocol):
    """A way to start workers on an engine."""

    @property
    def spread(self) -> bool:
        """Whether workers may run on other machines than this one."""

    @property
    def detach(self) -> bool:
        """Whether the command that starts the workers leaves them to the engine and returns."""

    def describe(self) -> str:
        """Describe how many workers would be started and where, without starting any.

        Raises:
            ConfigError: The engine is not available or would reject the workers.
            LaunchError: The engine does not answer.
        """

    def start(self, order: Order) -> Job:
        """Start the workers, or attach to those of an earlier command that the engine still runs.

        Args:
            order: The command to run, its log directory and its name.

        Raises:
            ConfigError: The engine rejects the workers.
            LaunchError: The engine does not answer.
        """


def worker_environment(threads: int, tunables: str | None = None) -> dict[str, str]:
    """Return the variables of a worker that libraries read before or while torch is imported.

    Args:
        threads: Number of its CPU threads.
        tunables: GLIBC_TUNABLES of the machine it runs on, with a trailing colon unless it is
            empty; None: that of this process.
    """
    if tunables is None:
        tunables = f"{os.environ.get('GLIBC_TUNABLES', '')}:".lstrip(":")
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Spinning threads take cores from other workers: 330 images/s, passive 901.
        "OMP_WAIT_POLICY": "passive",
        # The trainer lets malloc keep freed memory, which only the first arena can: with more,
        # trials in threads (worker.concurrency) took 520 instead of 422 µs per image.
        "MALLOC_ARENA_MAX": "1",
        # A trial maps its memory again (see the trainer's release_memory). With pages of 2 MiB
        # instead of 4 KiB, the gap to the first step of a new shape fell from 0.133 to 0.101 s of
        # CPU time.
        "GLIBC_TUNABLES": f"{tunables}glibc.malloc.hugetlb=1",
    }


def last_line(path: Path) -> str:
    """Return the last line of a log that is not blank, or a reference to the log."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"see {path}"
