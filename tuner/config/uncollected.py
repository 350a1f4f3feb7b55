"""Pause garbage collection while many objects are created that all stay alive.

Collections would traverse these objects repeatedly and free nothing: with Python's default
thresholds, they take an eighth of the time of importing PyTorch.
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
