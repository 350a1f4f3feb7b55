"""All combinations of the values of a search space, if they can be listed."""

import math

from tuner.errors import ConfigError, Mistake
from tuner.space.distributions import Scalar
from tuner.space.tree import Space

LARGEST_GRID = 100_000
"""Combinations that Optuna's grid, which lists and shuffles them all, handles in a second."""


def grid(space: Space) -> dict[str, list[Scalar]]:
    """Return all values of each parameter by name.

    Raises:
        ConfigError: A parameter is conditional or continuous, or there are too many combinations.
    """
    found: dict[str, list[Scalar]] = {}
    unlisted = []
    for p in space.parameters():
        if p.condition:
            unlisted.append((f"{p.name} is conditional", f"pin {p.condition[0][0]}"))
        elif (count := p.distribution.size()) == math.inf:
            hint = f"{p.key}=choice(…), or range(start, stop, step)"
            unlisted.append((f"{p.name} is continuous", hint))
        elif count > LARGEST_GRID:
            unlisted.append((f"{p.name} has {count} values", "a step"))
        else:
            found[p.name] = p.distribution.every()
    size = math.prod(map(len, found.values()))
    if not unlisted and size > LARGEST_GRID:
        unlisted.append((f"{size} combinations", "fewer choices, or sampler=qmc"))
    if unlisted:
        raise ConfigError([Mistake("sampler", f"grid: {told}", hint) for told, hint in unlisted])
    return found
