"""A plain function whose only connection to tuner is the keyword ``report``."""

from collections.abc import Callable


def train(*, x: float, y: float, epochs: int, report: Callable[..., None]) -> float:
    """Approach the negated Himmelblau function, whose four maxima are 0, epoch by epoch."""
    value = -((x**2 + y - 11) ** 2) - (x + y**2 - 7) ** 2
    for epoch in range(1, epochs + 1):
        report(epoch, score=value - 10 / epoch)  # may raise: do not catch it
    return value
