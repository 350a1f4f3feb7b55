"""The contents that the HTML page and the Markdown report share; templates lay them out."""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from optuna import Study

from tuner.errors import hinted
from tuner.log import brief
from tuner.report.analysis import comparison, importance, pareto
from tuner.report.analysis.pruning_errors import UNKNOWN_SAVING, pruning
from tuner.report.commands import Commands
from tuner.report.configurations import STATES
from tuner.report.formatting import duration, legend, metric, percent, rate, word
from tuner.report.summary import Summary

FILTERS = {
    "brief": brief,
    "duration": duration,
    "hinted": hinted,
    "legend": legend,
    "metric": metric,
    "percent": percent,
    "rate": rate,
    "word": word,
}
"""Formats that all templates use."""


def environment(
    finalize: Callable[[object], object], room: str = "tuner.report", **filters: Callable[..., str]
) -> Environment:
    """Return the templates of a package; they escape every text that ``finalize`` returns."""
    made = Environment(
        loader=PackageLoader(room, "."),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(FILTERS, **filters)
    return made


def contents(
    study: Study, summary: Summary, final: Mapping[str, Any], commands: Commands
) -> dict[str, Any]:
    """Return the variables of a template; ``final`` is that of ``final_record.final_of``."""
    known = comparison.noise(summary, final)
    titles, rivals = comparison.table(summary, known)
    return {
        "summary": summary,
        "commands": commands,
        "rival_titles": titles,
        "rivals": rivals,
        "sentences": comparison.sentences(summary, known, final),
        "front": pareto.front(summary) if len(summary.objectives) > 1 else [],
        "important": importance.importances(study, summary) if summary.ranking else "",
        "pruning": pruning(summary),
        "time_spent": time_spent(summary),
        "unknown_saving": UNKNOWN_SAVING,
    }


def time_spent(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows of a table of the device time by state, the most first.

    Configurations that share a device take turns, so each counts with its share of the device
    time. The table has no rows if no time is known.
    """
    worked = sum(row.seconds for row in summary.rows)
    spent = []
    for state in STATES:
        rows = [row for row in summary.rows if row.state == state]
        share = sum(row.seconds for row in rows) / worked if worked else 0.0
        if share:
            epochs = sum(len(row.curve) for row in rows)
            spent.append((share, [state, str(len(rows)), str(epochs)]))
    titles = ["state", "configurations", "epochs", "device time", "share"]
    seconds = 3600 * summary.device_hours
    return titles, [
        [*cells, duration(seconds * share), percent(share)]
        for share, cells in sorted(spent, reverse=True)
    ]
