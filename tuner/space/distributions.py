"""The distributions of searched keys: a number in a range, or one of several choices."""

import decimal
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Scalar = None | bool | int | float | str


class Suggester(Protocol):
    """The methods of a trial that the space calls; Optuna's trials implement them."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar: ...


@dataclass(frozen=True)
class Float:
    """A real number in [low, high], with a grid of ``step`` if given."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def text(self, value: Scalar) -> str:
        if self.step is None or not isinstance(value, int | float):
            return repr(value)
        return repr(counted(value, self.low, self.step))

    def samples(self) -> list[Scalar]:
        return [self.low, self.high]

    def size(self) -> float:
        """The number of values."""
        return round((self.high - self.low) / self.step) + 1 if self.step else math.inf

    def every(self) -> list[Scalar]:
        """Return all values, if their number is finite."""
        step = self.step or math.nan
        return [counted(self.low + k * step, self.low, step) for k in range(int(self.size()))]

    def __str__(self) -> str:
        step = f", step {self.step:g}" if self.step else ""
        return f"float {self.low:g} to {self.high:g}{', log' if self.log else ''}{step}"


@dataclass(frozen=True)
class Int:
    """An integer in {low, low + step, …, high}."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def text(self, value: Scalar) -> str:
        return str(value)

    def samples(self) -> list[Scalar]:
        return [self.low, self.high]

    def size(self) -> float:
        """The number of values."""
        return (self.high - self.low) // self.step + 1

    def every(self) -> list[Scalar]:
        """Return all values."""
        return list(range(self.low, self.high + 1, self.step))

    def __str__(self) -> str:
        step = f", step {self.step}" if self.step != 1 else ""
        return f"int {self.low} to {self.high}{', log' if self.log else ''}{step}"


@dataclass(frozen=True)
class Categorical:
    """One of ``choices``; a list or mapping among them is stored as its override text."""

    choices: tuple[Scalar, ...]
    texts: tuple[str, ...]

    def suggest(self, trial: Suggester, name: str) -> Scalar:
        return trial.suggest_categorical(name, self.choices)

    def text(self, value: Scalar) -> str:
        return self.texts[self.choices.index(value)]

    def samples(self) -> list[Scalar]:
        return list(self.choices)

    def size(self) -> float:
        """The number of values."""
        return len(self.choices)

    def every(self) -> list[Scalar]:
        """Return all values."""
        return list(self.choices)

    def __str__(self) -> str:
        return f"one of {', '.join(self.texts)}"


Distribution = Float | Int | Categorical


def counted(value: float, low: float, step: float) -> float:
    """Return a value on a grid, rounded to exact decimals: 0.3, not 0.30000000000000004."""
    return round(value, max(_places(low), _places(step)))


def _places(value: float) -> int:
    """Return the number of decimals of the shortest decimal equal to this number."""
    exponent = decimal.Decimal(repr(value)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
