"""What the page and the Markdown report tell of a study; their templates lay it out."""

from collections.abc import Mapping
from typing import Any

from optuna import Study

from tuner.errors import hinted
from tuner.log import brief
from tuner.report.analysis import comparison, importance, pareto
from tuner.report.analysis.pruning_errors import UNKNOWN_SAVING, pruning
from tuner.report.commands import Commands
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
"""Formats that the templates use."""


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
        "unknown_saving": UNKNOWN_SAVING,
    }
