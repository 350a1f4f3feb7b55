"""One configuration of a study and its outcome, as Python code sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.report.configurations import Row


@dataclass(frozen=True)
class Trial:
    """A configuration of a study, with all of its attempts, at the time when it was read.

    Args:
        number: Its number in the study, that of its first attempt.
        state: ``complete``, ``pruned``, ``infeasible``, ``failed``, ``running`` or ``queued``.
        value: The metric; the last reported one of a pruned trial; None without one.
        params: The searched values by key; for a function, by its keywords.
        overrides: The stored overrides, with which ``tuner train`` repeats it.
        metrics: The last reported metrics by name.
        facts: Values that the objective noted about the run, see ``report.note``.
        curve: The metric by epoch.
        run_dir: The directory of its files, None before it has begun.
        seconds: The total duration of all attempts.
        reason: Why it failed or is infeasible, else None.
        traceback: The traceback of a failed trial, else None.

    Example:
        >>> study.best.value
        1.0
        >>> study.best.params
        {'lr': 0.3}
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    run_dir: Path | None = None
    seconds: float = 0.0
    reason: str | None = None
    traceback: str | None = None


def of(row: Row) -> Trial:
    """Return a row of a study's summary as a trial."""
    return Trial(
        number=row.number,
        state=row.state,
        value=row.value,
        params={key.removeprefix("objective."): value for key, value in row.settings.items()},
        overrides=tuple(row.stored),
        metrics=dict(row.metrics),
        facts=dict(row.facts),
        curve=dict(row.curve),
        run_dir=None if row.run_dir is None else Path(row.run_dir),
        seconds=row.seconds,
        reason=row.reason,
        traceback=row.traceback,
    )
