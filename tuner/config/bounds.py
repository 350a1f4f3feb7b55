"""Ranges of numbers, declared together with their types in the signature that reads them.

    def cosine(progress: float, *, final: Share, warmup: BelowOne = 0.0) -> float: ...

``types.conforms`` checks them: the values of a configuration, the ends of searched ranges, and the
arguments of a builder that is decorated with ``types.validate_arguments``.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """Finite numbers from ``low`` to ``high``, as an annotation of a parameter.

    Values of a configuration, and the ends of a searched range, are checked before anything runs.

    Args:
        low: Smallest value.
        high: Largest value; infinity for none.
        above: Exclude ``low`` itself.
        below: Exclude ``high`` itself.

    Example:
        >>> from typing import Annotated
        >>> def train(dropout: Annotated[float, Bounds(0, 1, below=True)]) -> float: ...
        >>> str(Bounds(0, 1, below=True)), Bounds(0, 1).hold(1.5)
        ('from 0 to below 1', False)
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def hold(self, value: object) -> bool:
        """Return whether a number, or each of a list, is in range; other values are not checked."""
        if isinstance(value, list | tuple):
            return all(map(self.hold, value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under and abs(value) <= sys.float_info.max

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        if math.isinf(self.low):
            return "finite"
        if math.isinf(self.high):
            return f"above {low}" if self.above else f"of {low} or more"
        start = f"above {low}" if self.above else f"from {low}"
        return f"{start} to {'below ' * self.below}{high}"


@dataclass(frozen=True)
class Keywords:
    """Marks a parameter that accepts a partial, with the bounds of those keywords that it has.

    It is for callables of other libraries, whose signatures declare no bounds.
    """

    bounds: Mapping[str, Bounds]


COUNT, WHOLE = Bounds(1), Bounds(0)
NON_NEGATIVE, POSITIVE = Bounds(0), Bounds(0, above=True)
SHARE, BELOW_ONE = Bounds(0, 1), Bounds(0, 1, below=True)

Count = Annotated[int, COUNT]
Whole = Annotated[int, WHOLE]
NonNegative = Annotated[float, NON_NEGATIVE]
Positive = Annotated[float, POSITIVE]
Share = Annotated[float, SHARE]
BelowOne = Annotated[float, BELOW_ONE]
Part = Annotated[float, Bounds(0, 1, above=True, below=True)]
Seed = Annotated[int, Bounds(0, 2**32 - 1)]
Factor = Annotated[float, Bounds(0, 1, above=True)]
