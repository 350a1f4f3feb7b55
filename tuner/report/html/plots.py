"""Draw the progress of a search, history and learning curves, as plotly.js dictionaries.

Every string in a figure is escaped, because plotly.js reads labels as HTML. Colours of text, grid
and background come from the page, which knows whether it is light or dark.
"""

import html
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import quantiles
from typing import Any

from tuner.report.configurations import Row
from tuner.report.formatting import finite, word
from tuner.report.summary import Summary

Figure = dict[str, Any]

# Legible on white and black; distinct for the colour-blind together with the markers.
COLOURS = {
    "best": "#e8590c",
    "complete": "#2f81f7",
    "pruned": "#8b949e",
    "infeasible": "#bf8700",
    "failed": "#cf222e",
    "running": "#2da44e",
}
MAX_CURVES = 400  # more are slow to draw and cannot be distinguished

MAX_MARKS = 1000


def history(summary: Summary) -> Figure | str:
    """Draw every configuration's value by number and the best so far, or return a note."""
    shown = [row for row in summary.rows if finite(row.value) and row.reason is None]
    if not shown:
        return "No configuration has a value yet."
    shown = thinned(shown, summary, MAX_MARKS)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": state,
            "x": [row.number for row in rows],
            "y": [row.value for row in rows],
            "text": [label(row) for row in rows],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": COLOURS[state], "size": 8, "symbol": symbol},
        }
        for state, symbol in (("pruned", "circle-open"), ("complete", "circle"))
        if (rows := [row for row in shown if row.state == state])
    ]
    traces.append(_best_so_far(summary))
    values = [row.value for row in shown if row.value is not None]
    shape = figure(traces, x="configuration", y=summary.metric, y_range=robust_range(values))
    shape["note"] = cut([values])
    return _whole(shape, [row.number for row in shown])


def _best_so_far(summary: Summary) -> dict[str, Any]:
    steps: list[tuple[int, float]] = []
    for row in summary.rows:
        if row.state != "complete" or row.value is None or not finite(row.value):
            continue
        if not steps or summary.loss(row.value) < summary.loss(steps[-1][1]):
            steps.append((row.number, row.value))
    if steps:
        steps.append((max(row.number for row in summary.rows), steps[-1][1]))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": [x for x, _ in steps],
        "y": [y for _, y in steps],
        "line": {"color": COLOURS["best"], "shape": "hv", "width": 2},
        "hoverinfo": "skip",
    }


def curves(summary: Summary) -> Figure | str:
    """Draw learning curves coloured by outcome, or return a note if nothing was reported."""
    rows = curves_shown(summary)
    if not rows:
        return "No configuration has reported an epoch yet."
    best = summary.best
    states = {state: [row for row in rows if row.state == state and row is not best]
             for state in ("pruned", "infeasible", "failed", "running", "complete")}  # fmt: skip
    states["best"] = [row for row in rows if row is best]
    traces = [*chain.from_iterable(_curves(state, members) for state, members in states.items())]
    values = [y for row in rows for y in row.curve.values() if finite(y)]
    shape = figure(traces, x="epoch", y=summary.metric, y_range=robust_range(values))
    shape["note"] = cut([values])
    return _whole(shape, [epoch for row in rows for epoch in row.curve])


def curves_shown(summary: Summary) -> list[Row]:
    """Return rows with a curve; of more than MAX_CURVES the best, and a sample of the others."""
    return thinned([row for row in summary.rows if row.curve], summary, MAX_CURVES)


def thinned(rows: Sequence[Row], summary: Summary, most: int) -> list[Row]:
    """Return at most ``most`` rows: the best for a quarter of that, and every nth of the others."""
    if len(rows) <= most:
        return list(rows)
    numbers = {row.number for row in rows}
    kept = [row for row in summary.ranking[: most // 4] if row.number in numbers]
    ranked = {row.number for row in kept}
    others = [row for row in rows if row.number not in ranked]
    stride = math.ceil(len(others) / (most - len(kept)))
    return sorted(kept + others[::stride], key=lambda row: row.number)


def pareto(summary: Summary, front: Sequence[Row]) -> Figure | str:
    """Draw the first two objectives against each other, and highlight the ``front``."""
    done = [row for row in summary.ranking if len(row.values) > 1 and all(map(finite, row.values))]
    if not done:
        return "No configuration is complete."
    x, y = list(summary.objectives)[:2]
    rest = done[:: math.ceil(len(done) / MAX_MARKS)]
    traces = [_points(rest, "complete", "complete"), _points(front, "best", "Pareto front")]
    return figure(traces, x=x, y=y)


def _points(rows: Sequence[Row], state: str, name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row.values[0] for row in rows],
        "y": [row.values[1] for row in rows],
        "text": [f"#{row.number}" for row in rows],
        "hovertemplate": "%{text}<br>%{x:.6g}, %{y:.6g}<extra></extra>",
        "marker": {"color": COLOURS[state], "size": 9 if state == "best" else 7},
    }


def _curves(state: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return traces of one outcome: lines, and dots for single epochs, with one legend entry."""
    dots = [row for row in rows if len(row.curve) == 1]
    lines = [row for row in rows if len(row.curve) > 1]
    traces = [_trace(state, group, mode) for group, mode in ((lines, "lines"), (dots, "markers"))
              if group]  # fmt: skip
    for hidden in traces[1:]:
        hidden["showlegend"] = False
    return traces


def _trace(state: str, rows: Sequence[Row], mode: str) -> dict[str, Any]:
    """Return one trace for several curves, separated by gaps (None)."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for row in rows:
        epochs = sorted(row.curve)
        x += [*epochs, None]
        y += [*(row.curve[epoch] if finite(row.curve[epoch]) else None for epoch in epochs), None]
        text += [f"#{row.number} {state}"] * (len(epochs) + 1)
    return {
        "type": "scatter",
        "mode": mode,
        "name": state,
        "legendgroup": state,
        "x": x,
        "y": y,
        "text": text,
        "hovertemplate": "%{text}<br>epoch %{x}: %{y:.5g}<extra></extra>",
        "opacity": 1 if state in {"best", "running"} else 0.75,
        "line": {"color": COLOURS[state], "width": 3 if state == "best" else 1.3},
        "marker": {"color": COLOURS[state]},
    }


def figure(
    traces: Sequence[dict[str, Any]],
    *,
    x: str,
    y: str,
    y_range: tuple[float, float] | None = None,
    **layout: Any,
) -> Figure:
    """Return a figure with titled axes; the names in ``layout`` are plotly's."""
    return {
        "data": list(traces),
        "layout": {
            "height": 380,
            "margin": {"l": 60, "r": 16, "t": 16, "b": 48},
            "xaxis": {"title": {"text": text(x)}, "automargin": True},
            "yaxis": {"title": {"text": text(y)}, "automargin": True, "range": y_range},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "hovermode": "closest",
            **layout,
        },
    }


def _whole(shape: Figure, numbers: Sequence[int]) -> Figure:
    """Return settings that keep plotly.js from placing ticks between few whole numbers."""
    if max(numbers) - min(numbers) <= 10:
        shape["layout"]["xaxis"]["dtick"] = 1
    return shape


def robust_range(values: Iterable[float]) -> tuple[float, float] | None:
    """Return the axis range of ``values`` without outliers (3 interquartile ranges away).

    None leaves the choice to plotly.js. A double click on the plot shows everything.
    """
    known = sorted(value for value in values if math.isfinite(value))
    if len(known) < 8:
        return None
    low, _, high = quantiles(known, n=4)
    reach = 3 * (high - low)
    inside = [value for value in known if low - reach <= value <= high + reach]
    margin = 0.05 * (inside[-1] - inside[0])
    return None if margin == 0 else (inside[0] - margin, inside[-1] + margin)


def cut(axes: Sequence[Sequence[float]]) -> str:
    """Return a sentence that counts the values of each axis outside of its ``robust_range``."""
    most = 0
    for values in axes:
        low, high = robust_range(values) or (-math.inf, math.inf)
        most = max(most, sum(math.isfinite(v) and not low <= v <= high for v in values))
    if not most:
        return ""
    which = "The axis is" if len(axes) == 1 else "Axes are"
    count = f"{most} value{'s' * (most > 1)}" if len(axes) == 1 else f"up to {most} values each"
    return f"{which} cut: {count} outside. A double click on the plot shows everything."


def label(row: Row) -> str:
    """Return the hover text of a mark as plotly.js's HTML: number, value and settings."""
    value = "" if row.value is None else f"{row.value:.6g}"
    settings = [f"{key} = {word(item)}" for key, item in row.settings.items()]
    return "<br>".join(text(part) for part in (f"#{row.number} {row.state} {value}", *settings))


def text(value: str) -> str:
    return html.escape(value, quote=False)
