"""Give functions a name by which ``_target_`` finds them."""

import functools
from collections.abc import Callable
from typing import Any

from tuner.api import here
from tuner.config import targets
from tuner.errors import ConfigError, Mistake

Objective = Callable[..., Any]


def imported_as(function: Objective) -> str | None:
    """Return ``module.name`` if other processes can import the function, else None.

    They cannot import functions that are defined in ``__main__``, a notebook or another function.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return None
    target = f"{module}.{name}"
    try:
        return target if targets.locate(target) is function else None
    except ConfigError:
        return None


def not_importable(function: Objective) -> Mistake:
    """Return the error for workers with a function that they cannot import."""
    told = f"{name(function)} is not defined in a module that worker processes can import"
    return Mistake("workers", told, "put it into a file, or set workers=0")


def name(function: Objective) -> str:
    """Return the name of a function as a word; ``objective`` if it has none, such as a lambda."""
    while isinstance(function, functools.partial):
        function = function.func
    word = getattr(function, "__name__", type(function).__name__)
    return word if word.isidentifier() else "objective"


def kept(function: Objective) -> str:
    """Keep a function of this process, and return the target by which it is found."""
    setattr(here, name(function), function)
    return f"{targets.HERE}.{name(function)}"
