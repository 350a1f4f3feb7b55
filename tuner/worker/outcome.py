"""Determine the outcome of an attempt, and store it."""

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tuner.errors import Diverged, Fenced, Infeasible, TunerError
from tuner.log import brief, log, sanitised
from tuner.storage.reason_kind import Kind
from tuner.study.attempts import STATES, Reason, word
from tuner.study.objectives import Returned
from tuner.worker import artifacts, checkpoint_retention
from tuner.worker.failures import is_broken_device, is_out_of_memory
from tuner.worker.reporter import Report, finite

LINE = 100
"""Maximum number of characters of a reason in a line of the log."""


class AttemptEnd(Enum):
    """The outcome of an attempt from its worker's point of view."""

    FINISHED = auto()
    FAILED = auto()
    REQUEUED = auto()
    FENCED = auto()
    BROKEN_DEVICE = auto()
    """The accelerator's context is lost: the trial will be resumed, but not in this process."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: with a value for each objective, or without values for a reason."""

    values: list[float] | None = None
    reason: Reason | None = None
    traceback: str = ""

    @property
    def state(self) -> TrialState:
        """Optuna's state of the trial."""
        return TrialState.COMPLETE if self.reason is None else self.reason.kind.state

    def shown(self, report: Report) -> str:
        """Return a text for a line of a log; the whole reason is stored with the trial."""
        if self.values:
            return ", ".join(f"{value:.6g}" for value in self.values)
        if self.reason and self.reason.text:
            return brief(self.reason.text, LINE)
        step = max(report.values, default=0)
        return f"at epoch {step}: {report.metric} {report.values[step]:.6g}" if step else ""


def outcome_of(report: Report, returned: Returned) -> Outcome:
    """Return the outcome of an objective that returned."""
    named = report.aims.named(returned)
    if not named:
        if not report.values:
            raise TunerError(
                "the objective returned nothing and reported nothing",
                hint=f"return the final {report.metric}, or report it",
            )
        named = {report.metric: report.values[max(report.values)]}
    value = named[report.metric]
    if not math.isfinite(value):
        return _diverged(f"{report.metric} is {value}")
    return _traded(report, named)


def _traded(report: Report, named: Mapping[str, float]) -> Outcome:
    """Return the outcome of a finite metric; all objectives must be known and all limits hold."""
    aims, measured = report.aims, {**report.measured, **named}
    if missing := aims.missing(measured):
        raise TunerError(
            f"the objective did not report {', '.join(missing)} (study.objectives, "
            f"study.constraints), only {', '.join(sorted(measured))}",
            hint="use report(step, …), or report.note(…) once",
        )
    if reason := aims.broken(measured):
        return Outcome(reason=Reason(Kind.CONSTRAINT, reason))
    values = [measured[name] for name in aims.objectives]
    bad = [f"{n} is {v}" for n, v in zip(aims.objectives, values, strict=True)
           if not math.isfinite(v)]  # fmt: skip
    return _diverged(", ".join(bad)) if bad else Outcome(values)


def _diverged(what: str) -> Outcome:
    return Outcome(reason=Reason(Kind.DIVERGED, f"diverged: the final {what}"))


def classify(report: Report, error: BaseException) -> AttemptEnd:
    """Return the outcome of a trial whose objective raised."""
    if is_broken_device(error):
        log.error("trial %d: the device is unusable: %s", report.number, error)
        report.context.study.expire(report.context.worker)  # the next claim counts it as a crash
        return AttemptEnd.BROKEN_DEVICE
    reason = infeasible(error)
    if reason is not None:
        return finish(report, Outcome(reason=reason))
    text = sanitised("".join(traceback.format_exception(error)))
    log.error("trial %d failed:\n%s", report.number, text)
    reason = Reason(Kind.ERROR, sanitised(f"{type(error).__name__}: {error}")[:500])
    return finish(report, Outcome(None, reason, text[-8000:]))


def infeasible(error: BaseException) -> Reason | None:
    """Return why the configuration is infeasible, None if ``error`` is an ordinary failure."""
    said = str(error) or type(error).__name__
    if isinstance(error, Infeasible):
        kind = Kind.DIVERGED if isinstance(error, Diverged) else Kind.INFEASIBLE
        return Reason(kind, error.reason or said, error.hint)
    if is_out_of_memory(error):
        return Reason(Kind.OUT_OF_MEMORY, f"out of memory: {said.splitlines()[0]}")
    return None


def finish(report: Report, outcome: Outcome) -> AttemptEnd:
    """Store the outcome: files, then attributes, state and values."""
    context = report.context
    state, reason = outcome.state, outcome.reason
    attrs: dict[str, Any] = {
        "epochs": report.epochs,
        "metrics": finite(report.metrics),
        "facts": report.facts,
        "traceback": outcome.traceback,
        **{key: sanitised(text) for key, text in (reason.to_attrs() if reason else {}).items()},
    }
    kept = {key: item for key, item in attrs.items() if item or key == "epochs"}
    if report.run_dir is not None:
        _attach(report, report.run_dir)
    context.study.patience(lambda: _tell(report, kept, outcome))
    report.track.end(STATES[state])
    checkpoint_retention.tidy(context.study, context.plan, report.trial._trial_id)
    ended = word(state, reason.kind if reason else None)
    log.info("trial %d %s %s", report.number, ended, outcome.shown(report))
    return AttemptEnd.FAILED if state == TrialState.FAIL else AttemptEnd.FINISHED


def _tell(report: Report, attrs: Mapping[str, Any], outcome: Outcome) -> None:
    """Store the outcome; safe to repeat, because attributes precede the state or accompany it."""
    study, trial = report.context.study, report.trial
    storage = study.storage
    try:
        now = storage.get_trial(trial._trial_id).state
    except KeyError:
        study.verify()
        raise Fenced("it is no longer in the database") from None
    if now == outcome.state:
        return  # stored just before the connection was lost
    if now != TrialState.RUNNING:
        raise Fenced(f"it is {now.name}")
    try:
        with storage.together():
            for key, item in attrs.items():
                trial.set_user_attr(key, item)
            for name, excess in report.aims.excess(report.measured).items():  # for the sampler
                if name not in trial.constraints and not math.isnan(excess):
                    trial.set_constraint(name, excess)
            trial.study.tell(trial, outcome.values, state=outcome.state)
    except ValueError:  # raised by Optuna if the trial has ended in the meantime
        if storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            raise
        raise Fenced("it was just assigned to another worker") from None


def _attach(report: Report, run_dir: Path) -> None:
    """Upload files for the dashboard; errors never fail the trial."""
    try:
        store = Path(report.context.plan.storage.artifacts)
        artifacts.attach(report.trial.study, report.trial, run_dir, artifacts.open_store(store))
    except UpdateFinishedTrialError:
        raise
    except Exception as error:
        log.warning("trial %d: no artifacts: %s", report.number, error)
