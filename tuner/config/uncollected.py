"""Pause garbage collection while many objects are created that all stay alive.

Collections then search the objects again and again and free nothing: with the defaults of Python
they take an eighth of the time that importing PyTorch takes.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collection, unless it is paused already."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
