"""Assemble the report: the sections of one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study

from tuner.report.analysis import importance, pareto
from tuner.report.analysis.importance import Importance
from tuner.report.commands import UNKNOWN, Commands
from tuner.report.html import parameters, plots, sections
from tuner.report.html.document import document, escaped, grid, plot, section
from tuner.report.html.parallel_coordinates import parallel
from tuner.report.html.plots import Figure
from tuner.report.summary import Summary

DRAWN, AXES = 20, 10
"""Configurations in the table of a picture, which nobody scrolls, and parameters side by side."""


def page(
    study: Study,
    summary: Summary,
    final: Mapping[str, Any],
    commands: Commands = UNKNOWN,
    pictures: str = "",
    *,
    still: bool = False,
) -> str:
    """Return the page as text; it includes plotly.js and therefore has more than 1 MB.

    Args:
        pictures: Images of the winner, see ``tuner.report.html.gallery``.
        still: The page is to become an image, and has only what is visible without scrolling.
    """
    figures: dict[str, Figure] = {}
    winner = sections.winner(summary, commands, pictures)
    if summary.ranking:
        found = [winner, *_found(figures, study, summary, final, still)]
    else:
        found = [winner, *_so_far(figures, summary)]
    body = [
        sections.head(summary),
        *found,
        section(
            "Configurations",
            sections.configurations(summary, DRAWN if still else sections.LISTED),
        ),
        section("How to repeat it", sections.provenance(summary, commands)),
    ]
    return document(summary.name, body, figures)


def _found(
    figures: dict[str, Figure],
    study: Study,
    summary: Summary,
    final: Mapping[str, Any],
    still: bool,
) -> list[str]:
    """Return the sections with the results of a study and their cost."""
    important = importance.importances(study, summary)
    slices = _slices(figures, summary, important)
    return [
        section("Is it really better?", sections.compared(summary, final)),
        section("Learning curves", _curves(figures, summary)),
        section("Optimisation history", _history(figures, summary)),
        _pareto(figures, summary),
        section("Importance of the parameters", _importances(figures, important)),
        section("Value against each parameter", slices),
        section("Parallel coordinates", _parallel(figures, summary, important, still)),
        section("What was searched", sections.space(summary)),
        section("Where the time went", sections.time_spent(summary)),
        section("What pruning saved", sections.pruning(summary)),
        section("Failures", sections.failures(summary)),
    ]


def _so_far(figures: dict[str, Figure], summary: Summary) -> list[str]:
    """Return the sections for a study without a complete trial, failures first."""
    curves = any(row.curve for row in summary.rows)
    return [
        section("Failures", sections.failures(summary)) if summary.failures else "",
        section("Learning curves", _curves(figures, summary)) if curves else "",
        section("Where the time went", sections.time_spent(summary)),
        section("What was searched", sections.space(summary)),
    ]


def _history(figures: dict[str, Figure], summary: Summary) -> str:
    left = summary.over - plots.MAX_MARKS
    note = f'<p class="faint">The best and every so-many-th are drawn: {plots.MAX_MARKS}.</p>'
    return plot(figures, "history", plots.history(summary)) + note * (left > 0)


def _curves(figures: dict[str, Figure], summary: Summary) -> str:
    drawn = len(plots.curves_shown(summary))
    every = sum(bool(row.curve) for row in summary.rows)
    left = f'<p class="faint">{drawn} of {every} curves are drawn.</p>' if drawn < every else ""
    return plot(figures, "curves", plots.curves(summary)) + left


def _parallel(
    figures: dict[str, Figure],
    summary: Summary,
    important: Sequence[Importance] | str,
    still: bool,
) -> str:
    first = [] if isinstance(important, str) else [row.name for row in important]
    shape = parallel(summary, first, AXES if still else None)
    width = 0 if isinstance(shape, str) else 105 * len(shape["layout"]["shapes"])
    drawn = f'<div class="wide" tabindex="0">{plot(figures, "parallel", shape, width=width)}</div>'
    cut = still and not isinstance(shape, str) and len(shape["layout"]["shapes"]) > AXES
    return drawn + f'<p class="faint">No more than {AXES} parameters are drawn.</p>' * cut


def _pareto(figures: dict[str, Figure], summary: Summary) -> str:
    """Return the Pareto front; empty for a single objective, whose front is the winner."""
    if len(summary.objectives) < 2:
        return ""
    front = pareto.front(summary)
    drawn = plot(figures, "pareto", plots.pareto(summary, front))
    return section("Pareto front", drawn + sections.front(summary, front))


def _importances(figures: dict[str, Figure], found: Sequence[Importance] | str) -> str:
    if isinstance(found, str):
        return plot(figures, "importances", found)
    shown, rest = found[: parameters.SHOWN], found[parameters.SHOWN :]
    note = (
        '<p class="faint">Shares in reaching the best tenth (PED-ANOVA). The whiskers hold the'
        f" middle 80 % of {importance.RESAMPLED} resamples of the configurations: a long one says"
        " that the share depends on which happened to be tried.</p>"
    )
    rows = [[escaped(row.name), f"{row.share:.1%}", row.range] for row in rest]
    more = grid(["parameter", "share", "middle 80 %"], rows)
    more = f"<details><summary>and {len(rest)} more</summary>{more}</details>" if rest else ""
    return plot(figures, "importances", parameters.bars(shown)) + more + note


def _slices(
    figures: dict[str, Figure], summary: Summary, important: Sequence[Importance] | str
) -> str:
    first = [] if isinstance(important, str) else [row.name for row in important]
    shapes = parameters.slices(summary, first)
    if not shapes:
        return "<p>No parameter took more than one value.</p>"
    plotted = (
        plot(figures, f"slice-{k}", shape, width=1) for k, shape in enumerate(shapes.values())
    )
    drawn = f'<div class="slices">{"".join(plotted)}</div>'
    few = f" {parameters.MARKS} of {summary.over} are drawn." * (summary.over > parameters.MARKS)
    told = f"Filled: complete. Hollow: pruned, with the {escaped(summary.metric)} of that moment."
    values = [[y for trace in s["data"] for y in trace["y"]] for s in shapes.values()]
    cut = plots.cut(values)
    return f'{drawn}<p class="faint">{told * bool(summary.pruned)}{few} {cut}</p>'
