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
    """Yield the path of a temporary file, which replaces ``path`` at the end of the block.

    Readers see either the old content or the new one, both complete. If the block raises, ``path``
    is unchanged and the temporary file is removed. Missing directories are created. With ``sync``,
    the content is on the disk before the file is replaced, so this holds after a power failure too.

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

    While another process holds the lock, ``pause`` is called repeatedly, and may raise to give up;
    without ``pause``, the call blocks.
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
    """Take the lock if no other process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
