"""The log files of the workers on this machine; no two commands write to the same file."""

import fcntl
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Log:
    """The file ``worker-<number>.log``, open for appending."""

    number: int
    path: Path
    file: IO[bytes]


def claim(directory: Path) -> Log:
    """Open the log with the lowest number that no other process writes to, and lock it.

    The lock belongs to the open file: it is released once this process has closed the file and
    every worker that inherited it has ended.
    """
    for number in itertools.count():
        path = directory / f"worker-{number}.log"
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        except OSError:  # file system without locks: assume that no other process writes
            pass
        return Log(number, path, file)
    raise AssertionError("unreachable")


def where(directory: Path, logs: Sequence[Log]) -> str:
    """Describe for users where the logs are: the directory, and file names if it has others."""
    numbers = [log.number for log in logs]
    if numbers == list(range(len(numbers))):
        return f"logs in {directory}"
    names = [log.path.name for log in logs]
    shown = ", ".join(names if len(names) < 4 else [names[0], "…", names[-1]])
    return f"logs in {directory}: {shown}"
