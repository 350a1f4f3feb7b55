"""Every combination of the values of a search space, where they can be listed."""

import math

from tuner.distributions import Scalar
from tuner.errors import ConfigError
from tuner.space import Space

LARGEST_GRID = 100_000
"""Combinations that Optuna's grid, which lists and shuffles them all, handles in a second."""


def grid(space: Space) -> dict[str, list[Scalar]]:
    """Every value of every parameter; ``ConfigError`` if they cannot be listed."""
    found: dict[str, list[Scalar]] = {}
    mistakes = []
    for p in space.parameters():
        if p.condition:
            mistakes.append(f"sampler=grid: {p.name} is conditional; hint: pin {p.condition[0][0]}")
        elif (count := p.distribution.size()) == math.inf:
            cure = f"{p.key}=choice(…), or range(start, stop, step)"
            mistakes.append(f"sampler=grid: {p.name} has no end of values; hint: {cure}")
        elif count > LARGEST_GRID:
            mistakes.append(f"sampler=grid: {p.name} has {count} values; hint: a step")
        else:
            found[p.name] = p.distribution.every()
    size = math.prod(map(len, found.values()))
    if not mistakes and size > LARGEST_GRID:
        mistakes.append(f"sampler=grid: {size} combinations; hint: fewer choices, or sampler=qmc")
    if mistakes:
        raise ConfigError(mistakes)
    return found
