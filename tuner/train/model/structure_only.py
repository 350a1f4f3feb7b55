"""Build networks whose weights are loaded from elsewhere afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ACTIVE = ContextVar("structure_only", default=False)


@contextmanager
def structure_only() -> Iterator[None]:
    """Download, read and draw no weights in the block; a preset comes by its name."""
    before = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(before)


def is_structure_only() -> bool:
    """Return whether this is called in such a block."""
    return _ACTIVE.get()
