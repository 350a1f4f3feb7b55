"""Using what Optuna calls experimental without its warning of it."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning

_filters = threading.Lock()


@contextmanager
def allowed() -> Iterator[None]:
    """No such warnings in the block, which one thread at a time is in.

    Filters are the process's: of two threads each would restore what the other has changed.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
