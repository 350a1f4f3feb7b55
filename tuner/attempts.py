"""Configurations, where the database holds attempts at them.

A retry carries Optuna's own attributes ``failed_trial`` (number of the first attempt) and
``retry_history``, so that stock Optuna and the dashboard read the study.
"""

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState, create_trial

FIRST = "failed_trial"
HISTORY = "retry_history"
FIXED = "fixed_params"
"""Of a trial whose parameters are given, Optuna's own too."""
REQUEUE = "tuner:requeue"
"""System attribute of an attempt that is to go on elsewhere: why it stopped."""
CRASHES = "tuner:crashes"
"""System attribute of a retry: how many earlier attempts were lost, preemptions not counted."""
ORDINAL = "tuner:configuration"
"""System attribute: how many configurations there were before this one, whatever was retried."""
SET_ASIDE = "set aside: "
"""How the reason begins of a trial that others queued, and that was not run."""
RUNG = "completed_rung_"
"""Prefix of what Optuna's successive halving notes as it judges a trial."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}
INFEASIBLE = "infeasible"
"""What people are told of a trial that Optuna counts as pruned, but no pruner gave up."""


def first_number(trial: FrozenTrial) -> int:
    """The number of the configuration that a trial is an attempt at."""
    return int(trial.system_attrs.get(FIRST, trial.number))


def ordinal(trial: FrozenTrial) -> int:
    """The place of a configuration among all; seeds depend on it, and so not on retries."""
    return int(trial.system_attrs.get(ORDINAL, first_number(trial)))


def word(state: TrialState, reason: str | None) -> str:
    """A state as people are told it, the same in logs, views and reports.

    ``pruned`` is what the pruner gave up.  What diverged, did not fit or broke a limit ends with a
    reason and is ``infeasible``: so the two add up to what Optuna counts as pruned.
    """
    return INFEASIBLE if state == TrialState.PRUNED and reason else STATES[state]


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether another attempt goes on with it."""
    return trial.state == TrialState.FAIL and REQUEUE in trial.system_attrs


def is_set_aside(trial: FrozenTrial) -> bool:
    """Whether it failed before it was run, by no fault of the objective's."""
    return str(trial.user_attrs.get("reason", "")).startswith(SET_ASIDE)


def last(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The last attempt at each configuration."""
    failed = TrialState.FAIL  # a study of 10,000 is gone through at each decision
    return [t for t in trials if t.state is not failed or REQUEUE not in t.system_attrs]


def following(trial: FrozenTrial, crashes: int) -> FrozenTrial:
    """The next attempt: same parameters, the curve so far, and what the pruner noted.

    What it noted at the last epoch is left out: the worker may have died between the note and
    the decision, so that the epoch is judged once more.  A note is the value that was judged;
    where an earlier epoch had the same value, judging it again makes the same note.
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
