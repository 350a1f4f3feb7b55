"""Locate the callables that ``_target_`` names, and read their signatures."""

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from tuner.config import extras
from tuner.config.types import nearest
from tuner.config.uncollected import uncollected
from tuner.errors import ConfigError

HERE = "tuner.api.here"
"""Name of the module of functions that exist only in this process; see ``tuner.search``."""


Parameters = Mapping[str, tuple[Any, bool]]
"""Parameter → its annotation, and whether it is required."""


def signature(target: str) -> tuple[Parameters, bool]:
    """Return the parameters of a callable by its name, and whether it accepts ``**kwargs``."""
    called = locate(target)
    fixed = inspect.isclass(called) or inspect.isfunction(called)
    return _declared(called) if fixed else _read(called)


@functools.lru_cache(maxsize=256)
def _declared(called: Callable[..., Any]) -> tuple[Parameters, bool]:
    """Return the cached signature of a class or function, which is needed many times."""
    return _read(called)


def _read(called: Callable[..., Any]) -> tuple[Parameters, bool]:
    try:
        found = inspect.signature(called)
    except (TypeError, ValueError):
        return {}, True
    hints = _hints(called)
    parameters: dict[str, tuple[Any, bool]] = {}
    open_ended = False
    for name, p in found.parameters.items():
        if p.kind is p.VAR_KEYWORD:
            open_ended = True
        elif p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            parameters[name] = (hints.get(name, Any), p.default is p.empty)
    return parameters, open_ended


def locate(target: str) -> Callable[..., Any]:
    """Return the callable named ``module.name`` or ``module.Class.method``.

    Raises:
        ConfigError: It cannot be imported, does not exist or is not callable.
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            with uncollected():
                found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not f"{module_name}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"{target!r} cannot be imported: {error}", hint=extras.cure(error.name)
                ) from error
            continue
        except Exception as error:
            raise ConfigError(
                f"{target!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
        return _attribute(found, parts[cut:], target)
    raise ConfigError(
        f"{target!r} cannot be imported: no module {parts[0]!r}",
        hint="install it, or run the command in the directory that contains it",
    )


def _attribute(found: Any, names: list[str], target: str) -> Callable[..., Any]:
    for name in names:
        if not hasattr(found, name):
            known = [n for n in dir(found) if not n.startswith("_")]
            raise ConfigError(f"{target!r} does not exist", hint=nearest(name, known))
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f"{target!r} is not callable; got {type(found).__name__}")
    return typing.cast(Callable[..., Any], found)


def _hints(called: Callable[..., Any]) -> dict[str, Any]:
    function = called.__init__ if inspect.isclass(called) else called
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        # Some names exist only for type checkers; then no types are known.
        return {}
