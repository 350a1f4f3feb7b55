"""Split images at random, by class, in the same way for the same seed.

The parts are those of scikit-learn's ``train_test_split``. It is not called, because importing it
takes 0.9 s, of every process that trains.
"""

import math

import numpy as np
import numpy.typing as npt

from tuner.errors import ConfigError

Rows = npt.NDArray[np.int64]


def split(labels: np.ndarray, size: float | int, seed: int, *, key: str) -> tuple[Rows, Rows]:
    """Return row numbers of the rest and of ``size`` (a share, or a count), stratified by class.

    Float targets have no classes, and are split at random.

    Raises:
        ConfigError: No such split exists; the message names ``key``.
    """
    part = math.ceil(size * len(labels)) if isinstance(size, float) else size
    rest = len(labels) - part
    is_target = labels.dtype.kind == "f"
    groups = np.zeros(len(labels)) if is_target else labels
    _, classes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    least = min(counts, default=0)
    if min(rest, part) < len(counts) or least < (1 if is_target else 2):
        smallest = f" of {len(counts)} classes, of which the smallest has {least}"
        raise ConfigError(
            f"{size} cannot split {len(labels)} images{'' if is_target else smallest}",
            key=key,
            hint="use a fraction between 0 and 1 that leaves each class an image in both parts",
        )
    rng = np.random.RandomState(seed)
    if is_target:
        order = rng.permutation(len(labels))
        return order[part:], order[:part]
    of_rest = _distributed(rest, counts, rng)
    of_part = _distributed(part, counts - of_rest, rng)
    orders = [
        rows[rng.permutation(len(rows))]
        for rows in np.split(classes.argsort(kind="stable"), counts.cumsum()[:-1])
    ]
    cut = list(zip(orders, of_rest, of_part, strict=True))
    one = np.concatenate([order[:first] for order, first, _ in cut])
    other = np.concatenate([order[first : first + second] for order, first, second in cut])
    return rng.permutation(one), rng.permutation(other)


def _distributed(total: int, counts: Rows, rng: np.random.RandomState) -> Rows:
    """Return numbers in proportion to ``counts`` with this total.

    What rounding down leaves goes to the largest fractions; ties are broken at random.
    """
    exact = counts / counts.sum() * total
    found = np.floor(exact)
    left, fractions = int(total - found.sum()), exact - found
    for fraction in np.unique(fractions)[::-1]:
        tied = np.flatnonzero(fractions == fraction)
        if left > 0:
            drawn = rng.choice(tied, min(left, len(tied)), replace=False)
            found[drawn] += 1
            left -= len(drawn)
    whole: Rows = found.astype(np.int64)
    return whole
