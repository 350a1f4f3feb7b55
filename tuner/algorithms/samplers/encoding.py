"""Encode parameters as numbers: ranges as [0, 1], choices as indices, inactive ones as NaN."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from tuner.algorithms.rung_scores import Floats
from tuner.space.distributions import Categorical, Distribution, Float
from tuner.space.tree import Parameter, Space

LARGEST_GRID = 10_000
"""Maximum number of configurations that are listed to find the unused ones of a space."""
INACTIVE = -0.5
"""Feature of an inactive range, whose values are in [0, 1]."""
SAME = 1e-9
"""Largest difference at which two encoded values are equal, as a fraction of the range."""


@dataclass(frozen=True)
class Column:
    """One parameter; it is active if the column ``parent`` has the value ``option``."""

    name: str
    distribution: BaseDistribution
    parent: int | None = None
    option: int | None = None


class Encoding:
    """The columns of a search space, parents before children.

    A value of a discrete range (integers, steps) is encoded as the centre of a cell, so that all
    values have equal parts of [0, 1], on a logarithmic scale for logarithmic ranges.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        kinds = [c.distribution for c in columns]
        self.distributions = {c.name: c.distribution for c in columns}
        self.choices = np.array(
            [len(d.choices) if isinstance(d, CategoricalDistribution) else 0 for d in kinds], int
        )
        """The number of choices of each column, 0 for a range."""
        ranges = [d if isinstance(d, FloatDistribution | IntDistribution) else None for d in kinds]
        self._first = np.array([d.low if d else 0.0 for d in ranges], float)
        self._last = np.array([d.high if d else 1.0 for d in ranges], float)
        self._step = np.array([(d.step or 0.0) if d else 0.0 for d in ranges], float)
        self._log = np.array([bool(d and d.log) for d in ranges], bool)
        self._low = self._scaled(self._first - self._step / 2)
        span = self._scaled(self._last + self._step / 2) - self._low
        self._span = np.where(span > 0, span, 1.0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoding) and self.columns == other.columns

    def __hash__(self) -> int:
        return hash(self.columns)

    def __call__(self, trials: Sequence[FrozenTrial]) -> Floats:
        """Encode the parameters of trials as an array of shape (trials, columns)."""
        return self._rows([trial.params for trial in trials])

    def row(self, params: Mapping[str, Any]) -> Floats:
        """Encode parameters as a row of shape (columns,); values outside of their range are kept.

        Unknown choices, and values without a logarithm in a logarithmic range, are NaN.
        """
        return np.asarray(self._rows([params])[0])

    def _rows(self, several: Sequence[Mapping[str, Any]]) -> Floats:
        rows = np.full((len(several), len(self.columns)), np.nan)
        for k, column in enumerate(self.columns):
            rows[:, k] = _internal(column, several)
        return self._encoded(np.where(self._log & ~(rows > 0), np.nan, rows))

    def values(self, rows: Floats) -> Floats:
        """Decode rows to parameter values inside their ranges; choices remain indices."""
        position = self._low + rows * self._span
        value = np.where(self._log, np.exp(np.where(self._log, position, 0.0)), position)
        step = np.where(self._step > 0, self._step, 1.0)
        on_grid = self._first + np.round((value - self._first) / step) * step
        value = np.where(self._step > 0, on_grid, value)
        value = np.where(rows <= 0, self._first, np.where(rows >= 1, self._last, value))  # exactly
        return np.where(self.choices > 0, rows, np.clip(value, self._first, self._last))

    def snap(self, rows: Floats) -> Floats:
        """Round rows to values that parameters can have, and set inactive columns to NaN."""
        snapped = self._encoded(self.values(rows))
        for k, column in enumerate(self.columns):
            if column.parent is not None:
                snapped[snapped[:, column.parent] != column.option, k] = np.nan
        return snapped

    def params(self, row: Floats) -> dict[str, Any]:
        """Decode a row to its active parameters by name."""
        return {
            column.name: column.distribution.to_external_repr(float(value))
            for column, value in zip(self.columns, self.values(row[None])[0], strict=True)
            if not np.isnan(value)
        }

    def uniform(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw ``count`` rows from the prior, with every column filled, not snapped."""
        u = rng.random((count, len(self.columns)))
        return np.where(self.choices > 0, np.floor(u * self.choices), u)

    def features(self, rows: Floats) -> Floats:
        """Return rows without NaN for a regression, shape (rows, features).

        A choice of more than two options is one column for each; inactive ranges are below 0.
        """
        columns: list[Floats] = []
        for k, n in enumerate(self.choices):
            if n > 2:
                columns.extend((rows[:, k] == option).astype(float) for option in range(n))
            else:
                columns.append(np.where(np.isnan(rows[:, k]), INACTIVE, rows[:, k]))
        return np.array(columns).reshape(len(columns), len(rows)).T

    def grid(self) -> Floats | None:
        """Return all configurations, snapped, or None if there are too many to list."""
        rows = [[math.nan] * len(self.columns)]
        for k, column in enumerate(self.columns):
            values = self._every(k)
            active = [r for r in rows if column.parent is None or r[column.parent] == column.option]
            size = len(rows) - len(active) + len(active) * (len(values) if values else math.inf)
            if active and size > LARGEST_GRID:
                return None
            idle = [
                r for r in rows if column.parent is not None and r[column.parent] != column.option
            ]
            filled = [[*r[:k], v, *r[k + 1 :]] for r, v in itertools.product(active, values or [])]
            rows = idle + filled
        return self._encoded(np.array(rows, float).reshape(len(rows), len(self.columns)))

    def _every(self, k: int) -> list[float] | None:
        """Return all internal values of column ``k``, or None if there are too many to list."""
        if self.choices[k]:
            return [float(i) for i in range(self.choices[k])]
        first, last, step = self._first[k], self._last[k], self._step[k]
        if first == last:
            return [float(first)]
        if not step or (last - first) / step > LARGEST_GRID:
            return None
        return [float(first + i * step) for i in range(round((last - first) / step) + 1)]

    def _encoded(self, values: Floats) -> Floats:
        """Convert internal values to fractions of their ranges."""
        return np.where(self.choices > 0, values, (self._scaled(values) - self._low) / self._span)

    def _scaled(self, values: Floats) -> Floats:
        return np.where(self._log, np.log(np.where(self._log, values, 1.0)), values)


def _internal(column: Column, several: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the column's internal value for each of ``several``, NaN if absent or invalid."""
    name, represent = column.name, column.distribution.to_internal_repr

    def one(params: Mapping[str, Any]) -> float:
        try:
            return represent(params[name]) if name in params else math.nan
        except ValueError:
            return math.nan

    return [one(params) for params in several]


def is_known(row: Floats, known: Floats) -> bool:
    """Return whether a snapped row of shape (columns,) is among the rows of ``known``."""
    same = (np.abs(known - row) < SAME) | (np.isnan(known) & np.isnan(row))
    return bool(same.all(axis=1).any())


def of_distributions(distributions: Mapping[str, BaseDistribution]) -> Encoding:
    """Return the encoding of parameters that are always active."""
    return Encoding([Column(name, d) for name, d in distributions.items()])


def of_space(space: Space) -> Encoding:
    """Return the encoding of a space; parameters of a branch are active if its option is chosen."""
    columns: list[Column] = []
    todo: list[tuple[Parameter, int | None, int | None]] = [
        (p, None, None) for p in space.root.parameters
    ]
    while todo:
        p, parent, option = todo.pop(0)
        if isinstance(p.distribution, Categorical):
            for text, branch in p.branches.items():
                chosen = p.distribution.texts.index(text)
                todo.extend((child, len(columns), chosen) for child in branch.parameters)
        columns.append(Column(p.name, _distribution(p.distribution), parent, option))
    return Encoding(columns)


def _distribution(d: Distribution) -> BaseDistribution:
    if isinstance(d, Categorical):
        return CategoricalDistribution(d.choices)
    if isinstance(d, Float):
        return FloatDistribution(d.low, d.high, log=d.log, step=d.step)
    return IntDistribution(d.low, d.high, log=d.log, step=d.step)
