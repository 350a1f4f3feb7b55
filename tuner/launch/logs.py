"""The log files of this machine's workers: no two commands write to one."""

import fcntl
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Log:
    """``worker-<number>.log``, open to append to."""

    number: int
    path: Path
    file: IO[bytes]


def claim(directory: Path) -> Log:
    """The log of the lowest number that nobody writes to, kept from others.

    The lock is that of the open file: it lasts until this process has closed it and each worker
    that was started with it has ended.
    """
    for number in itertools.count():
        path = directory / f"worker-{number}.log"
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        except OSError:  # a file system without locks: then as if nobody else wrote
            pass
        return Log(number, path, file)
    raise AssertionError("unreachable")


def where(directory: Path, logs: Sequence[Log]) -> str:
    """For people: the directory, and the files in it that these are where it may have others."""
    numbers = [log.number for log in logs]
    if numbers == list(range(len(numbers))):
        return f"logs in {directory}"
    names = [log.path.name for log in logs]
    shown = ", ".join(names if len(names) < 4 else [names[0], "…", names[-1]])
    return f"logs in {directory}: {shown}"
