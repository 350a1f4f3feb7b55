"""Files that are replaced in one step, and file locks that end with their process."""

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Context manager whose value is a path to write to; it becomes ``path`` at the end.

    Readers see the old content or the new one, whole.  If the body raises, ``path`` stays as it
    was and the draft is removed.  Missing directories are made.  With ``sync`` the content is on
    disk before it takes its place, so a power cut leaves one of the two as well.

    Raises:
        FileExistsError: ``path`` is a pipe or a device, such as /dev/null, which would be lost.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "It is a pipe or a device", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield draft
        if sync:
            _sync(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        _sync(path.parent)


def replace(path: Path, content: str | bytes) -> None:
    """Replace the content of ``path`` in one step; see ``replaced``."""
    with replaced(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(
    path: Path | str, *, shared: bool = False, pause: Callable[[], object] | None = None
) -> Iterator[None]:
    """Hold an advisory lock on ``path``, which is created, alone or with others (``shared``).

    While it is held elsewhere ``pause`` is called again and again, and may raise to give up;
    without it the call blocks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with open(path, "a") as file:
        if pause is None:
            fcntl.flock(file, kind)
        else:
            while not _acquired(file.fileno(), kind):
                pause()
        yield


def _acquired(file: int, kind: int) -> bool:
    """Take the lock if nobody else holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
