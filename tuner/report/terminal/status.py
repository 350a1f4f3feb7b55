"""Show the current state of a study as text or JSON, and an overview of all studies."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tuner.report import formatting
from tuner.report.analysis import pruning_errors
from tuner.report.commands import UNKNOWN
from tuner.report.configurations import Repeat, as_data
from tuner.report.formatting import duration, metric, percent, rate
from tuner.report.summary import Summary, limits_of, summarise
from tuner.report.terminal.view import closing, columns, picture, remaining, table
from tuner.study.budget import Budget
from tuner.study.leases import Worker
from tuner.study.study import Study

IDLE = "no active worker; tuner tune resumes the study"
"""Text for an unfinished study without active workers."""


def summary_of(study: Study) -> Summary:
    """Summarise the study together with its workers."""
    return summarise(study.optuna, times=study.times(), workers=study.workers())


def budget_of(study: Study) -> Budget:
    """Return the budget that was last requested for the study."""
    return limits_of(study.attrs)


def as_json(
    summary: Summary, budget: Budget, ended: str | None, repeat: Repeat = UNKNOWN.known
) -> str:
    """Return the status as one line of JSON."""
    best = (
        None
        if summary.best is None
        else {**as_data(summary.best, repeat), "found": _found(summary)}
    )
    data: dict[str, Any] = {
        "study": summary.name,
        "n_trials": budget.n_trials,
        "budget": {s.key: {"spent": s.spent, "limit": s.limit} for s in summary.budget},
        "finished_reason": ended,
        "counts": summary.counts,
        "epochs": summary.epochs,
        "epochs_saved_fraction": summary.epochs_saved_fraction,
        "pruning": pruning_errors.as_data(summary),
        "device_hours": {"spent": summary.device_hours, "saved": summary.device_hours_saved},
        "trials_per_hour": summary.hourly,
        "seconds_left": 0.0 if ended else remaining(summary, budget.n_trials, budget.length),
        "best": best,
        "workers": [
            {"id": w.id, "host": w.host, "device": w.device, "trial": w.trial_number}
            for w in summary.workers
        ],
    }
    return formatting.as_json(data)


def _found(summary: Summary) -> str | None:
    finished = summary.best.finished if summary.best else None
    return None if finished is None else finished.astimezone(UTC).isoformat()


def as_picture(
    summary: Summary, budget: Budget, ended: str | None, *, width: int, rows: int | None = None
) -> RenderableType:
    """Return the live view of a study with workers, pace, cost and best trial.

    ``rows`` is the number of running trials that fit on a screen; None for no limit.
    """
    n_trials, epochs = budget.n_trials, budget.length
    shown: list[RenderableType] = [
        picture(summary, width=width, rows=rows or 20, n_trials=n_trials, epochs=epochs),
        Text(),
        *map(Text, _facts(summary, ended)),
    ]
    if summary.workers:
        shown += [Text(), _at_work(summary.workers)]
    if summary.ranking:
        shown += [Text(), closing(summary) if rows is None else table(summary)]
    return Group(*shown)


def _at_work(workers: Sequence[Worker]) -> RenderableType:
    """Return one line per worker, with devices if any were selected."""
    trials = ("idle" if w.trial_number is None else f"#{w.trial_number}" for w in workers)
    table = {
        "worker": [w.id for w in workers],
        "host": [w.host for w in workers],
        "device": ["" if w.device == "auto" else w.device for w in workers],
        "trial": list(trials),
    }
    known = {title: cells for title, cells in table.items() if any(cells)}
    return columns(list(known), zip(*known.values(), strict=True))


def _facts(summary: Summary, ended: str | None) -> list[str]:
    limits = [str(share) for share in summary.budget if share.key != "study.n_trials"]
    price = f"device time: {_hours(summary.device_hours)} spent"
    if summary.device_hours_saved:
        share = percent(summary.epochs_saved_fraction)
        price += f", {_hours(summary.device_hours_saved)} saved by pruning ({share} of epochs)"
    found = pruning_errors.pruning(summary)
    wrong = [f"pruning: {found}"] if found else []
    pace = f"{rate(summary.hourly)} configurations per hour" if summary.hourly else ""
    when = f"best configuration found {_ago(summary)}" if summary.best else ""
    return [
        fact
        for fact in (
            f"ended: {ended}" if ended else "" if summary.workers else IDLE,
            *_lost(summary),
            when,
            pace,
            price,
            *limits,
            *wrong,
        )
        if fact
    ]


def _hours(hours: float) -> str:
    """Format device hours, with minutes below ten hours, because devices are paid by the hour."""
    return f"{hours:,.0f} h" if hours >= 10 else duration(3600 * hours)


def _lost(summary: Summary) -> list[str]:
    """Describe dead workers whose trials no other worker has taken over yet."""
    return [
        f"{worker.id} was lost {duration(worker.silent)} ago"
        + (f"; the next worker resumes #{worker.trial_number}" if worker.trial_id else "")
        for worker in summary.lost
    ]


def _ago(summary: Summary) -> str:
    """Format a time and a trial such as ``3:05 ago (#12)``."""
    best = summary.best
    if best is None or best.finished is None:
        return "at an unknown time"
    passed = datetime.now() - best.finished  # both local, like Optuna's times
    return f"{duration(max(0.0, passed.total_seconds()))} ago (#{best.number})"


def overview(summaries: Sequence[Summary]) -> RenderableType:
    """Return all studies of a database, one line each, the most recently active first."""
    rows = [
        (
            found.name,
            found.metric,
            metric(found.best.value) if found.best else "",
            str(len(found.workers) or ""),
            found.tally or "nothing yet",
        )
        for found in summaries
    ]
    return columns(("study", "metric", "best", "workers", "configurations"), rows)
