"""Build networks without their pretrained weights, which are loaded from elsewhere afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ACTIVE = ContextVar("structure_only", default=False)


@contextmanager
def structure_only() -> Iterator[None]:
    """Download and read nothing in the block: weights come from elsewhere, the preset by name."""
    before = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(before)


def is_structure_only() -> bool:
    """Return whether this is called in such a block."""
    return _ACTIVE.get()
