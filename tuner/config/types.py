"""Check configuration values against type annotations; ``conforms`` alone defines what is valid.

It checks the sections of ``tuner.config.settings`` and, with the signatures of the callables that
``_target_`` names, everything else in the configuration.
"""

import difflib
import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tuner.config.bounds import Bounds
from tuner.errors import ConfigError, Mistake

HINTS = {
    "study.objectives": "'study.objectives={parameters: minimize}', further objectives",
    "study.constraints": "'study.constraints={parameters: 1e6}', upper limits",
}
"""Key → its syntax and meaning."""


def conforms(value: object, annotation: Any) -> bool:
    """Return whether a configuration value may be passed where ``annotation`` is declared.

    An int is accepted as a float and a str as a path; nothing else is converted. Annotations that
    cannot be checked (``Any``, callables, type variables) accept everything. ``Annotated`` values
    must lie within their ``Bounds``.
    """
    if annotation is None or annotation is type(None):
        return value is None
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        within = all(mark.hold(value) for mark in args[1:] if isinstance(mark, Bounds))
        return within and conforms(value, args[0])
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return any(conforms(value, arg) for arg in args)
    base = origin or annotation
    if base in (Any, Callable) or not isinstance(base, type):
        return True
    return _conforms_to_class(value, base, args)


def _conforms_to_class(value: object, base: type, args: tuple[Any, ...]) -> bool:
    if base is object:
        return True
    if isinstance(value, bool):
        return base is bool
    if base is float:
        whole = isinstance(value, int) and abs(value) <= sys.float_info.max
        return whole or isinstance(value, float)
    if isinstance(value, str):
        return issubclass(str, base) or issubclass(base, PathLike)
    if isinstance(value, list | tuple):
        return _items_conform(list(value), base, args)
    if isinstance(value, dict):
        inner = args[1] if len(args) == 2 else Any
        return issubclass(dict, base) and all(conforms(v, inner) for v in value.values())
    return isinstance(value, base)


def _items_conform(value: list[object], base: type, args: tuple[Any, ...]) -> bool:
    if base is tuple and args and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(conforms, value, args))
    inner = args[0] if args else Any
    return (base is tuple or issubclass(list, base)) and all(conforms(v, inner) for v in value)


def type_name(annotation: Any) -> str:
    """Return the annotation for users: ``int | null``, ``'max' | 'avg'``, ``[int, int]``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = dict.fromkeys(str(m) for m in args[1:] if isinstance(m, Bounds))
        return " ".join([type_name(args[0]), *bounds])
    if origin is Literal:
        return " | ".join(repr(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in filter(_writable, args))
    if isinstance(origin, type) and issubclass(origin, list | tuple | Sequence):
        inner = [type_name(arg) for arg in args if arg is not Ellipsis]
        return (
            f"[{', '.join(inner)}]" if origin is tuple and ... not in args else f"list[{inner[0]}]"
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"dict[{', '.join(map(type_name, args))}]"
    if annotation is type(None):
        return "null"
    if origin is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _writable(annotation: Any) -> bool:
    """Return whether a configuration can contain such a value, unlike a Tensor."""
    kinds = (bool, int, float, str, list, tuple, dict, type(None), PathLike, Sequence, Mapping)
    return not isinstance(annotation, type) or issubclass(annotation, kinds)


def mistake(path: str, annotation: Any, value: object, hint: str = "") -> Mistake:
    """Return the error for a value of a wrong type, with the expected type and a hint."""
    hint = hint or HINTS.get(path, "")
    if not hint and isinstance(value, str):
        meant = closest(value, _words(annotation))
        hint = f"did you mean {meant!r}?" if meant else ""
    got = f"{value!r} ({type(value).__name__})"
    return Mistake(path, f"expected {type_name(annotation)}, got {got}", hint)


def _words(annotation: Any) -> list[str]:
    """Return the strings that a ``Literal`` allows, alone or in a union."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _words(part)]


def bare(annotation: Any) -> Any:
    """Return the annotation without bounds at its top."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


Builder = TypeVar("Builder", bound=Callable[..., Any])


def validate_arguments(section: str) -> Callable[[Builder], Builder]:
    """Return a decorator that checks arguments against the bounds in the function's signature.

    The decorated function raises ``ConfigError`` for all arguments out of bounds, named as keys of
    ``section``.
    """

    def decorate(build: Builder) -> Builder:
        signature = inspect.signature(build)

        @functools.wraps(build)
        def built(*args: Any, **keywords: Any) -> Any:
            given = signature.bind(*args, **keywords)
            given.apply_defaults()
            require(build, given.arguments, section)
            return build(*args, **keywords)

        return built  # type: ignore[return-value]

    return decorate


def require(declared: Any, values: Mapping[str, object], section: str) -> None:
    """Raise ``ConfigError`` for ``values`` out of the bounds that a function or class declares."""
    found = [
        mistake(f"{section}.{name}", annotation, values[name])
        for name, annotation in get_type_hints(declared, include_extras=True).items()
        if name in values and _bounded(annotation) and not conforms(values[name], annotation)
    ]
    if found:
        raise ConfigError(found)


def _bounded(annotation: Any) -> bool:
    return isinstance(annotation, Bounds) or any(map(_bounded, get_args(annotation)))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint with the nearest known word, or a list of some of them."""
    if close := closest(word, known):
        return f"did you mean {close!r}?"
    shown = ", ".join(known[:12])
    return f"known: {shown}{', …' if len(known) > 12 else ''}" if shown else "none is known"


def closest(word: str, known: Sequence[str]) -> str:
    """Return the known word that this may be a typo of, empty if none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), "")
