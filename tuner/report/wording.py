"""How values read for people, and what must not be read by them."""

import math
import re
from collections.abc import Sequence
from typing import Any

_URL = re.compile(
    r"\b(?:sqlite|postgres\w*|mysql|mariadb|oracle|mssql|redis)(?:\+\w+)?://[^\s'\"]*"
)


def word(value: Any) -> str:
    """A parameter's value as an override writes it, floats shortened to 4 digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metric(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


SHARES = {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}
"""Metrics of the built-in trainer that lie from 0 to 1; the others are 0 or more."""
LOSSES = {"loss", "mse", "mae"}


def interval(name: str, ends: Sequence[float]) -> str:
    """An interval of the metric ``name``, cut where that cannot lie: Student's knows no ends."""
    low, high = ends
    known = name.removeprefix("val_").removeprefix("test_")
    low = max(low, 0.0) if known in SHARES | LOSSES else low
    high = min(high, 1.0) if known in SHARES else high
    return f"{metric(low)} to {metric(high)}"


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def duration(seconds: float) -> str:
    """``59 s``, ``4:05`` (minutes), ``2:04:05`` (hours)."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plain(text: object) -> str:
    """One line without control characters: a stored string cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in without_urls(str(text))).strip()


def without_urls(text: str) -> str:
    """``text`` with database URLs, which may hold passwords, replaced."""
    return _URL.sub("(storage URL)", text)


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
