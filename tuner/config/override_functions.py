"""The functions of Hydra's override grammar, two of them adapted to search spaces."""

import inspect
import math
from dataclasses import replace
from typing import Any

from hydra._internal.grammar import grammar_functions as hydras
from hydra._internal.grammar.functions import Functions
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.types import IntervalSweep, RangeSweep


def functions() -> Functions:
    """Return Hydra's override functions with two changes.

    ``choice`` accepts null, and ``int(interval(0.5, 3.7))`` starts at 1: Hydra truncates it to 0,
    which is outside the interval.
    """
    found = create_functions()
    options = inspect.signature(hydras.choice).parameters["args"]
    nullable = options.replace(annotation=options.annotation | None)
    found.definitions |= {
        "choice": inspect.Signature([nullable]),
        "int": inspect.signature(_int),
    }
    found.functions["int"] = _int
    return found


def _int(*args: Any, value: Any = None) -> Any:
    cast = args[0] if args else value
    if isinstance(cast, IntervalSweep):
        return _within(cast)
    if isinstance(cast, RangeSweep):
        parts = (cast.start, cast.stop, cast.step)
        if any(isinstance(part, float) and not part.is_integer() for part in parts):
            raise ValueError("int() cannot be applied to a range of fractions")
    return hydras.cast_int(*args, value=value)


def _within(fractions: IntervalSweep) -> IntervalSweep:
    """Return the integers of an interval, including its ends."""
    low, high = fractions.start, fractions.end
    assert low is not None
    assert high is not None
    ends = math.ceil(low), math.floor(high)
    if (ends[0] >= ends[1]) and ends != (low, high):
        raise ValueError(f"there are fewer than two integers from {low:g} to {high:g}")
    return replace(fractions, start=ends[0], end=ends[1])
