"""Configurations, and their attempts, which the database stores as trials.

A retry has Optuna's own attributes ``failed_trial`` (number of the first attempt) and
``retry_history``, so that stock Optuna and the dashboard can read the study.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.storage.reason_kind import Kind

FIRST = "failed_trial"
HISTORY = "retry_history"
FIXED = "fixed_params"
"""System attribute of a trial with fixed parameters, as Optuna's own enqueued trials have it."""
REQUEUE = "tuner:requeue"
"""System attribute of an attempt that will be resumed elsewhere: why it stopped."""
CRASHES = "tuner:crashes"
"""System attribute of a retry: the number of earlier attempts that crashed, without preemptions."""
ORDINAL = "tuner:configuration"
"""System attribute: the number of configurations before this one, without retries."""
TRAINING = "tuner:training"
"""System attribute of a training of a final: its seed, and whether it trains as a final does."""
RUNG = "completed_rung_"
"""Prefix of the attributes in which Optuna's successive halving notes its decisions."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}
INFEASIBLE = "infeasible"
"""The displayed state of a trial that Optuna stores as pruned, but that no pruner stopped."""


@dataclass(frozen=True)
class Reason:
    """Why a trial ended without a value, and what may help."""

    kind: Kind
    text: str = ""
    hint: str = ""

    def to_attrs(self) -> dict[str, str]:
        """Return the user attributes that store it, without empty ones."""
        attrs = {"reason_kind": self.kind.value, "reason": self.text, "reason_hint": self.hint}
        return {key: text for key, text in attrs.items() if text}


def kind(trial: FrozenTrial) -> Kind | None:
    """Return why a trial ended without a value; None if it has not ended, or has a value.

    Other tools store no kind: a trial stored as pruned is infeasible if it has a reason.
    """
    if trial.state not in (TrialState.PRUNED, TrialState.FAIL):
        return None
    if stored := trial.user_attrs.get("reason_kind"):
        return Kind(stored)
    if trial.state == TrialState.FAIL:
        return Kind.ERROR
    return Kind.INFEASIBLE if trial.user_attrs.get("reason") else Kind.PRUNED


def first_number(trial: FrozenTrial) -> int:
    """Return the number of the configuration of a trial: that of its first attempt."""
    return int(trial.system_attrs.get(FIRST, trial.number))


def ordinal(trial: FrozenTrial) -> int:
    """Return the position of a configuration among all; seeds depend on it, not on retries."""
    return int(trial.system_attrs.get(ORDINAL, first_number(trial)))


def word(state: TrialState, kind: Kind | None) -> str:
    """Return the displayed state of a trial, the same in logs, views and reports.

    ``pruned`` trials were stopped by the pruner. Trials that diverged, did not fit into memory or
    violated a constraint are ``infeasible``. Optuna stores both as pruned.
    """
    if state == TrialState.PRUNED and kind != Kind.PRUNED:
        return INFEASIBLE
    return STATES[state]


def is_superseded(trial: FrozenTrial) -> bool:
    """Return whether another attempt resumes this one."""
    return trial.state == TrialState.FAIL and REQUEUE in trial.system_attrs


def last(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the last attempt at each configuration."""
    failed = TrialState.FAIL  # each decision may visit 10,000 trials
    return [t for t in trials if t.state is not failed or REQUEUE not in t.system_attrs]


def artifacts(trial: FrozenTrial) -> list[dict[str, str]]:
    """Return the stored metadata of a trial's files, including those of earlier attempts."""
    stored = (v for k, v in trial.system_attrs.items() if k.startswith("artifacts:"))
    return [meta for text in stored if text is not None and (meta := json.loads(text)) is not None]


def following(trial: FrozenTrial, crashes: int) -> FrozenTrial:
    """Return the next attempt, with the same parameters, the curve so far, and the pruner's notes.

    Notes about the last epoch are omitted: the worker may have died between note and decision, so
    the epoch is judged again. A note is the judged value; if an earlier epoch had the same value,
    judging it again stores the same note.
    """
    latest = trial.intermediate_values.get(trial.last_step or 0)
    inherited = {
        k: v
        for k, v in trial.system_attrs.items()
        if k != REQUEUE and not (k.startswith(RUNG) and v == latest)
    }
    attrs = {
        **inherited,
        FIRST: inherited.get(FIRST, trial.number),
        HISTORY: [*inherited.get(HISTORY, []), trial.number],
        CRASHES: crashes,
    }
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=attrs,
        intermediate_values=trial.intermediate_values,
    )
