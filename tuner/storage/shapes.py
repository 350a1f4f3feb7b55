"""Predicates on values read as JSON, for code that relies on their types."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any], bool]


class _Unreadable:
    """Stands for text that is not JSON."""

    def __repr__(self) -> str:
        return "no JSON"


UNREADABLE = _Unreadable()


def decoded(text: str) -> Any:
    """Parse JSON; return ``UNREADABLE`` if it is malformed."""
    try:
        return _decode(text)[0]
    except (ValueError, TypeError, RecursionError):
        pass
    try:
        return json.loads(text)  # written by hand, with white space around
    except (ValueError, TypeError, RecursionError):
        return UNREADABLE


_decode = json.JSONDecoder().raw_decode
"""``json.loads`` without skipping white space, in half the time; ``dumps`` writes none."""


def text(found: Any) -> bool:
    return isinstance(found, str)


def count(found: Any) -> bool:
    """Return whether a value is an integer from 0 to 2**31 - 1, as all databases accept it."""
    return type(found) is int and 0 <= found < 2**31


def number(found: Any) -> bool:
    """Return whether a value is a number, including infinity, excluding NaN."""
    return type(found) in (int, float) and abs(found) <= float("inf")


def numeric(found: Any) -> bool:
    """Return whether a value is a number, including NaN."""
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
    """Return a predicate for mappings whose values all have the given shape."""
    return lambda found: isinstance(found, dict) and all(map(shape, found.values()))


def record(needed: Mapping[str, Shape], **more: Shape) -> Shape:
    """Return a predicate for mappings with the ``needed`` keys; ``more`` are optional.

    Other keys are ignored.
    """

    def fits(found: Any) -> bool:
        return (
            isinstance(found, dict)
            and all(key in found and shape(found[key]) for key, shape in needed.items())
            and all(shape(found[key]) for key, shape in more.items() if key in found)
        )

    return fits


def encoded(shape: Shape) -> Shape:
    """Return a predicate for JSON within JSON, as in Optuna's metadata of artifacts."""
    return lambda found: isinstance(found, str) and shape(decoded(found))
