"""Format values and text for users, without secrets and control characters."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.log import ESCAPE
from tuner.masking import masked

_URL = re.compile(
    r"\b(?:sqlite|postgres\w*|mysql|mariadb|oracle|mssql|redis)(?:\+\w+)?://[^\s'\"]*"
)


def word(value: Any) -> str:
    """Format a parameter's value as in an override, with floats shortened to 4 digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shorten(name: str, letters: int) -> str:
    """Shorten a name by removing its middle, because names differ at the ends."""
    if len(name) <= letters:
        return name
    return f"{name[: letters // 2]}…{name[len(name) - (letters - 1) // 2 :]}"


def metric(value: float | None) -> str:
    """Format a metric with five significant digits; large whole numbers are written out."""
    if value is None:
        return ""
    return f"{value:.0f}" if 1e5 <= abs(value) < 1e12 else f"{value:.5g}"


def measured(value: float, ends: Sequence[float] | None) -> str:
    """Format a value to the second significant digit of half its interval.

    Without an interval, or with one of width zero, the result is that of ``metric``.
    """
    half = (ends[1] - ends[0]) / 2 if ends else 0.0
    if not (math.isfinite(half) and half > 0):
        return metric(value)
    decimals = 1 - math.floor(math.log10(half))
    return f"{value:.2e}" if decimals > 6 else f"{value:z.{max(0, decimals)}f}"


def beside(value: float, score: float | None) -> str:
    """Format a difference with no more decimals than a ``score`` of five significant digits has."""
    if not score or not math.isfinite(score):
        return metric(value)
    return metric(round(value, 4 - math.floor(math.log10(abs(score)))))


def span(ends: Sequence[float]) -> str:
    """Format an interval, with as many digits as its width allows."""
    low, high = ends
    return f"{measured(low, ends)} to {measured(high, ends)}"


def scattered(value: float, deviation: float, ends: Sequence[float]) -> str:
    """Format mean ± standard deviation, with as many digits as the mean's interval allows."""
    return f"{measured(value, ends)} ± {measured(deviation, ends)}"


def aim(objectives: Mapping[str, bool], limits: Mapping[str, float] | None = None) -> str:
    """Describe the objectives (name → whether it is maximised) and the constraints in words.

    For example, ``the highest accuracy and the lowest parameters, with latency_ms at most 2``.
    """
    ways = (f"the {'highest' if up else 'lowest'} {name}" for name, up in objectives.items())
    kept = " and ".join(f"{name} at most {limit:g}" for name, limit in (limits or {}).items())
    return " and ".join(ways) + f", with {kept}" * bool(kept)


MEANINGS = {
    "pruned": "stopped early, behind the others at the same point",
    "infeasible": "no score: it diverged, did not fit in memory, or violated a constraint",
    "queued": "waiting for a free worker",
}
"""Explanations of states that are not self-explanatory."""


def legend(counts: Mapping[str, int]) -> str:
    """Explain the states that occur; empty if all are self-explanatory."""
    told = (f"{state}: {said}" for state, said in MEANINGS.items() if counts.get(state))
    return "; ".join(told)


SHARES = {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}
"""Metrics of the built-in trainer that lie between 0 and 1; the others are 0 or more."""
LOSSES = {"loss", "mse", "mae"}


def interval(name: str, ends: Sequence[float]) -> str:
    """Format an interval of the metric ``name``, clipped to the metric's range."""
    low, high = ends
    known = name.removeprefix("val_").removeprefix("test_")
    low = max(low, 0.0) if known in SHARES | LOSSES else low
    high = min(high, 1.0) if known in SHARES else high
    return f"{measured(low, ends)} to {measured(high, ends)}"


def rate(number: float) -> str:
    """Format a number per hour."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def as_json(data: Any) -> str:
    """Return one line of JSON, with null for NaN and infinity."""
    return json.dumps(strict(data), allow_nan=False)


def strict(data: Any) -> Any:
    """Return ``data`` with null for numbers that JSON does not have."""
    if isinstance(data, Mapping):
        return {key: strict(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [strict(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def duration(seconds: float) -> str:
    """Format seconds as ``59 s``, ``4:05`` (minutes), ``2:04:05`` (hours) or ``3 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """Format a number of bytes with three digits, in units of 1000 as disks are sold."""
    left = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 999.5:
            return f"{left:.3g} {unit}"
        left /= 1000
    return f"{left:.3g} TB"


def plain(text: object) -> str:
    """Escape control characters in one line, so that stored text cannot move the cursor."""
    kept = without_urls(ESCAPE.sub("", str(text)))
    return "".join(c if c.isprintable() else " " for c in kept).strip()


def without_urls(text: str) -> str:
    """Replace database URLs in ``text``, because they may contain passwords."""
    return _URL.sub("(storage URL)", masked(text))


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
