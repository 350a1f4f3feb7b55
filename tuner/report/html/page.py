"""Assemble the report as one self-contained HTML page."""

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna import Study

from tuner.report.analysis.importance import RESAMPLED
from tuner.report.analysis.pruning_errors import ENOUGH_AUDITED
from tuner.report.commands import UNKNOWN, Commands, shared
from tuner.report.configurations import Row, alike
from tuner.report.contents import contents
from tuner.report.html import parameters, plots
from tuner.report.html.document import render
from tuner.report.html.parallel_coordinates import parallel
from tuner.report.html.plots import Figure
from tuner.report.summary import Summary

LISTED = 200
"""Maximum number of configurations in the table."""
DRAWN, AXES = 20, 10
"""Maximum numbers of rows of the table and of axes of the parallel coordinates in a PNG."""
SHORT = 60
"""Maximum number of characters of a reason in that table; the failures have the whole text."""
CONSTANTS = {
    "AXES": AXES,
    "BARS": parameters.SHOWN,
    "COLOURS": plots.COLOURS,
    "ENOUGH_AUDITED": ENOUGH_AUDITED,
    "LISTED": LISTED,
    "MARKS": parameters.MARKS,
    "MAX_MARKS": plots.MAX_MARKS,
    "RESAMPLED": RESAMPLED,
    "SHORT": SHORT,
}
"""Numbers and colours that the template uses."""


def page(
    study: Study,
    summary: Summary,
    final: Mapping[str, Any],
    commands: Commands = UNKNOWN,
    pictures: Sequence[tuple[str, str]] = (),
    *,
    still: bool = False,
) -> str:
    """Return the page as text; it includes plotly.js and therefore has more than 1 MB.

    Args:
        pictures: Images of the winner, see ``tuner.report.html.gallery``.
        still: The page will become an image, so it contains only what is visible without scrolling.
    """
    told = contents(study, summary, final, commands)
    rows = _listed(summary)
    figures = _figures(summary, told["important"], told["front"], AXES if still else None)
    slices = [name for name in figures if name.startswith("slice-")]
    return render(
        "page.html.j2",
        figures,
        **told,
        **CONSTANTS,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        scores=_scores(summary),
        pictures=pictures,
        still=still,
        drawn_curves=len(plots.curves_shown(summary)),
        all_curves=sum(bool(row.curve) for row in summary.rows),
        front_titles=_front_titles(summary),
        slices=slices,
        cut=plots.cut([_heights(figures[name]) for name in slices]),
        rows=rows,
        listed=DRAWN if still else LISTED,
        common=_common(rows),
        provenance=_provenance(summary.attrs),
        pinned=shlex.join(shared(summary.attrs.get("overrides") or [])),
    )


def _figures(
    summary: Summary, important: Any, front: Sequence[Row], axes: int | None
) -> dict[str, Figure | str]:
    """Return the figures by name; before a configuration is complete, only the curves."""
    curves = plots.curves(summary)
    if not summary.ranking:
        return {} if isinstance(curves, str) else {"curves": curves}
    names = [] if isinstance(important, str) else [row.name for row in important]
    slices = parameters.slices(summary, names)
    figures: dict[str, Figure | str] = {
        **{f"slice-{k}": shape for k, shape in enumerate(slices.values())},
        "curves": curves,
        "history": plots.history(summary),
    }
    if len(summary.objectives) > 1:
        figures["pareto"] = plots.pareto(summary, front)
    figures["importances"] = important if isinstance(important, str) else parameters.bars(important)
    figures["parallel"] = parallel(summary, names, axes)
    return figures


def _heights(shape: Any) -> list[float]:
    return [y for trace in shape["data"] for y in trace["y"]]


def _scores(summary: Summary) -> dict[str, float]:
    """Return the other objectives and the metrics of the winner."""
    best = summary.best
    if best is None:
        return {}
    known = {**dict(zip(summary.objectives, best.values, strict=False)), **best.metrics}
    return {name: value for name, value in known.items() if name != summary.metric}


def _front_titles(summary: Summary) -> list[str]:
    ways = {True: "highest", False: "lowest"}
    return ["#", *(f"{name} ({ways[up]})" for name, up in summary.objectives.items()), "settings"]


def _listed(summary: Summary) -> list[Row]:
    """Return the configurations, best first, unfinished and failed ones last."""
    order = {row.number: place for place, row in enumerate(summary.ranking)}
    return sorted(summary.rows, key=lambda row: (order.get(row.number, math.inf), row.number))


def _common(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the settings that all configurations share."""
    known = [row for row in rows if row.settings]
    same = alike(known)
    return {key: value for key, value in known[0].settings.items() if key in same} if same else {}


def _provenance(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    commit = str(attrs.get("git_commit") or "")[:10]
    known = {
        "seed": attrs.get("seed"),
        "git commit": commit + ", with uncommitted changes" * bool(attrs.get("git_changes")),
        "versions": ", ".join(f"{k} {v}" for k, v in (attrs.get("versions") or {}).items()),
    }
    return [(key, str(value)) for key, value in known.items() if value not in (None, "")]
