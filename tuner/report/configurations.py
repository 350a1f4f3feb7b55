"""Merge the attempts at each configuration into one row.

Optuna stores each attempt as a separate trial. The number is that of the first attempt; the state,
the value and the curve are those of the last attempt (a retry inherits the curve).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.algorithms.pruners import audit
from tuner.log import sanitised
from tuner.space.distributions import counted
from tuner.storage.reason_kind import Kind
from tuner.study import fidelity
from tuner.study.attempts import is_superseded, kind, word
from tuner.study.seed_noise import REPEAT

STATES = ("complete", "pruned", "infeasible", "failed", "running", "queued")
"""States in display order; ``tuner.study.attempts.word`` assigns them."""


LastSeen = Mapping[int, datetime]
"""Ids of trials whose worker is dead, and the time of its last heartbeat."""


@dataclass(frozen=True)
class Row:
    """One configuration.

    ``number`` is that of its first attempt; ``seconds`` is the sum over its attempts; ``curve``
    maps epochs to the metric; ``reason`` says why it failed or is infeasible, and ``hint`` what may
    help.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    stored: Sequence[str]
    """The overrides stored in the database, only to be compared and shown. Those to run are built
    by ``tuner.study.vetting``.
    """
    curve: Mapping[int, float]
    attempts: int
    seconds: float
    finished: datetime | None = None
    kind: Kind | None = None
    """Why the configuration has no value; None if it has one or may still get one."""
    reason: str | None = None
    hint: str = ""
    traceback: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """Values that the objective noted, such as the number of parameters or the peak memory."""
    values: Sequence[float] = ()
    """The values in the order of ``Summary.objectives``; ``value`` is the first one."""
    worker: str | None = None
    host: str | None = None
    device: str | None = None
    origin: str | None = None
    """Where an enqueued configuration came from."""
    run_dir: str | None = None
    length: int | None = None
    """Number of epochs of its whole schedule, if known."""
    would_prune_at: int | None = None
    """Epoch at which the pruner rejected an audited configuration."""
    repeats: int | None = None
    """Number of the configuration that this one repeats to measure the noise."""

    @property
    def epoch(self) -> int:
        """The last reported epoch, 0 if there is none."""
        return max(self.curve, default=0)

    @property
    def latest(self) -> float | None:
        """The metric at the last reported epoch, None if there is none."""
        return self.curve[self.epoch] if self.curve else None

    @property
    def over(self) -> bool:
        return self.state in {"complete", "pruned", "infeasible", "failed"}

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters by override path: ``optimizer.lr@sgd`` becomes ``optimizer.lr``."""
        return {name.partition("@")[0]: value for name, value in self.params.items()}


Repeat = Callable[[Row], list[str] | None]
"""Returns the overrides that repeat a configuration, None if they are unknown."""


def as_data(row: Row, repeat: Repeat) -> dict[str, Any]:
    """Return a configuration as plain data: number, value, params, overrides, metrics, facts."""
    return {
        "number": row.number,
        "value": row.value,
        "params": row.settings,
        "overrides": repeat(row),
        "metrics": dict(row.metrics),
        "facts": dict(row.facts),
    }


def alike(rows: Sequence[Row]) -> set[str]:
    """Return the parameters that have the same value in all rows, if there are several rows."""
    if len(rows) < 2:
        return set()
    first = rows[0].settings
    missing = object()
    return {key for key in first if all(r.settings.get(key, missing) == first[key] for r in rows)}


def merged(number: int, attempts: Sequence[FrozenTrial], now: datetime, lost: LastSeen) -> Row:
    """Merge the attempts at a configuration, oldest first; see ``spans`` for the arguments."""
    last = attempts[-1]
    attrs = last.user_attrs
    why = kind(last)
    state = "queued" if _goes_on(last, lost) else word(last.state, why)
    # A retry inherits the attributes of the previous attempt, so those about the end of an attempt
    # are meaningless until this attempt has ended too.
    ended = state in {"infeasible", "failed"}
    return Row(
        number=number,
        state=state,
        value=last.values[0] if last.values else _reached(last),
        params={
            name: _told(value, last.distributions[name]) for name, value in last.params.items()
        },
        stored=attrs.get("overrides", []),
        curve=last.intermediate_values,
        attempts=len(attempts),
        seconds=sum((stop - start).total_seconds() for start, stop in spans(attempts, now, lost)),
        finished=last.datetime_complete,
        kind=why if state != "queued" else None,
        reason=_said(attrs.get("reason")) if ended else None,
        hint=_said(attrs.get("reason_hint")) or "" if ended else "",
        traceback=_said(attrs.get("traceback")) if state == "failed" else None,
        metrics=attrs.get("metrics", {}),
        facts=attrs.get("facts", {}),
        values=last.values or (),
        worker=attrs.get("worker"),
        host=attrs.get("host"),
        device=None if attrs.get("device") == "auto" else attrs.get("device"),
        origin=attrs.get("origin"),
        run_dir=attrs.get("run_dir"),
        length=fidelity.length(last),
        would_prune_at=audit.would_prune_at(last),
        repeats=last.system_attrs.get(REPEAT),
    )


def _said(text: str | None) -> str | None:
    """Return the text of an exception, masked because another program may have stored it."""
    return None if text is None else sanitised(text)


def _told(value: Any, asked: BaseDistribution) -> Any:
    """Return the value of a parameter as written in the trial's overrides."""
    if isinstance(asked, FloatDistribution) and asked.step is not None:
        return counted(value, asked.low, asked.step)
    return value


def _reached(trial: FrozenTrial) -> float | None:
    """Return the last value of a pruned trial, which Optuna stores only for one objective."""
    curve = trial.intermediate_values
    return curve[max(curve)] if curve and trial.state == TrialState.PRUNED else None


def _goes_on(trial: FrozenTrial, lost: LastSeen) -> bool:
    """Return whether the next worker will resume the trial."""
    return is_superseded(trial) or (trial.state == TrialState.RUNNING and trial._trial_id in lost)


def spans(
    trials: Iterable[FrozenTrial], now: datetime, lost: LastSeen
) -> Iterable[tuple[datetime, datetime]]:
    """Return when each of the trials began and ended.

    Args:
        now: The end of running trials.
        lost: The ends of trials whose worker is dead.
    """
    for trial in trials:
        end = trial.datetime_complete or lost.get(trial._trial_id, now)
        if trial.datetime_start is not None:
            yield trial.datetime_start, max(end, trial.datetime_start)
