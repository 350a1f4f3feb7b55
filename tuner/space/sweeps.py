"""Convert Hydra's sweeps to distributions; invalid ones raise ``ConfigError``."""

import math
from decimal import Decimal

from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from tuner.errors import ConfigError
from tuner.space.distributions import Categorical, Distribution, Float, Int, Scalar

EXACT = 2**53
"""Integers up to this number are exact as floats, as which Optuna stores all numbers."""


def categorical(choices: tuple[Scalar, ...], texts: tuple[str, ...]) -> Categorical:
    """Return a categorical distribution.

    Raises:
        ConfigError: There are no choices, or one is repeated.
    """
    if not choices:
        raise ConfigError("choice() has no options")
    for i, choice in enumerate(choices):
        if choice in choices[:i]:
            raise ConfigError(f"the choice {texts[i]} occurs twice", hint="list each option once")
    return Categorical(choices, texts)


def interval(sweep: IntervalSweep, log: bool) -> Distribution:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"the interval from {low} to {high} is not finite", hint="write numbers")
    if low >= high:
        cure = f"interval({high:g}, {low:g})" if high < low else "two numbers that differ"
        raise ConfigError(f"the interval is empty: {low:g} is not below {high:g}", hint=cure)
    if log and low <= 0:
        small = 1 if isinstance(low, int) else "1e-5"
        raise ConfigError(
            f"a log interval must start above 0, got {low:g}", hint=f"for example {small}"
        )
    if isinstance(low, int) and isinstance(high, int):
        return _exact(Int(low, high, log))
    if not math.isfinite(high - low):
        raise ConfigError(
            f"the interval from {low:g} to {high:g} is too wide for floating point",
            hint="narrow it",
        )
    return Float(low, high, log)


def _exact(whole: Int) -> Int:
    """Return the distribution, or raise ``ConfigError`` if its integers are not exact as floats.

    Optuna stores them as floats.
    """
    if max(abs(whole.low), abs(whole.high)) > EXACT:
        raise ConfigError(
            "integers beyond 2^53 are not exact in floating point",
            hint="use an interval without int(…), or search an exponent",
        )
    return whole


def steps(sweep: RangeSweep) -> Distribution:
    """Return the grid from ``start`` to below ``stop``, computed with decimal numbers.

    In floating point, as Hydra computes it, 3 * 0.7 is below 2.1.
    """
    parts = (sweep.start, sweep.stop, sweep.step)
    start, stop, step = (Decimal(repr(part)) for part in parts)
    if not all(part.is_finite() for part in (start, stop, step)):
        raise ConfigError(
            f"the range from {start} to {stop} by {step} is not finite", hint="numbers"
        )
    if step == 0:
        raise ConfigError("a range needs a step other than 0", hint="range(start, stop, step)")
    count = math.ceil((stop - start) / step)
    if count < 1:
        cure = "a start below the stop, or a step below 0" if step > 0 else "a step above 0"
        raise ConfigError(f"the range from {start} to {stop} by {step} is empty", hint=cure)
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(part, int) for part in parts):
        return _exact(Int(int(low), int(high), step=abs(int(step))))
    rounded = any(Decimal(repr(float(part))) != part for part in (low, high, step))
    if rounded or count > EXACT:
        raise ConfigError(
            f"the range from {start} to {stop} by {step} needs more digits than a float has",
            hint="use a step with fewer digits, or interval(start, stop)",
        )
    return Float(float(low), float(high), step=float(abs(step)))
