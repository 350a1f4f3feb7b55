"""Shapes of data that was read as JSON: what a value must be, for code that is to rely on it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any], bool]


class _Unreadable:
    """Stands for a text that is no JSON."""

    def __repr__(self) -> str:
        return "no JSON"


UNREADABLE = _Unreadable()


def decoded(text: str) -> Any:
    """What a text of JSON holds, or ``UNREADABLE``."""
    try:
        return _decode(text)[0]
    except (ValueError, TypeError, RecursionError):
        pass
    try:
        return json.loads(text)  # by hand, with blanks around
    except (ValueError, TypeError, RecursionError):
        return UNREADABLE


_decode = json.JSONDecoder().raw_decode
"""``json.loads`` without its search for blanks around, half of its time; ``dumps`` writes none."""


def text(found: Any) -> bool:
    return isinstance(found, str)


def count(found: Any) -> bool:
    """A whole number that any database and NumPy take."""
    return type(found) is int and 0 <= found < 2**31


def number(found: Any) -> bool:
    """Infinite ones too, but not NaN."""
    return type(found) in (int, float) and abs(found) <= float("inf")


def numeric(found: Any) -> bool:
    """NaN too."""
    return type(found) in (int, float)


def limit(found: Any) -> bool:
    return found is None or (number(found) and found > 0)


def scalar(found: Any) -> bool:
    return found is None or isinstance(found, str | bool) or number(found)


def matching(pattern: str) -> Shape:
    compiled = re.compile(pattern)
    return lambda found: isinstance(found, str) and compiled.fullmatch(found) is not None


def optional(shape: Shape) -> Shape:
    return lambda found: found is None or shape(found)


def each(shape: Shape) -> Shape:
    return lambda found: isinstance(found, list) and all(map(shape, found))


def mapping(shape: Shape) -> Shape:
    """Of names to values of one shape."""
    return lambda found: isinstance(found, dict) and all(map(shape, found.values()))


def record(needed: Mapping[str, Shape], **more: Shape) -> Shape:
    """With these keys, perhaps some ``more``, and others that nobody reads."""

    def fits(found: Any) -> bool:
        return (
            isinstance(found, dict)
            and all(key in found and shape(found[key]) for key, shape in needed.items())
            and all(shape(found[key]) for key, shape in more.items() if key in found)
        )

    return fits


def encoded(shape: Shape) -> Shape:
    """JSON within JSON, as Optuna stores what it says of an artifact."""
    return lambda found: isinstance(found, str) and shape(decoded(found))
