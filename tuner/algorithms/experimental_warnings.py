"""Use Optuna's experimental features without their warnings."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig
from optuna.exceptions import ExperimentalWarning

from tuner.config import instantiation

_filters = threading.Lock()


@contextmanager
def allowed() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental features in the block.

    Warning filters are global to the process, and two threads would restore each other's filters.
    Therefore, only one thread at a time can enter the block.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def instantiate(node: DictConfig, **given: object) -> Any:
    """Instantiate a node without Optuna's warnings about experimental features in it."""
    with allowed():
        return instantiation.instantiate(node, **given)
