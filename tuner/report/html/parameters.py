"""Draw the effect of each parameter, importances and slices, as plotly.js figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tuner.report.analysis.importance import Importance, taken
from tuner.report.configurations import Row
from tuner.report.formatting import finite, shorten, word
from tuner.report.html.plots import COLOURS, Figure, figure, robust_range, text, thinned
from tuner.report.summary import Summary

SHOWN = 15  # bars; further ones are small and listed as text
MARKS = 300  # points of a slice; 10,000 would take tens of megabytes
MOST_TICKS = 4  # of a slice, which is narrow
MOST_NAMES, LETTERS = 12, 14  # of a categorical axis; overlapping names are rotated


def bars(found: Sequence[Importance]) -> Figure:
    """Draw horizontal bars, the largest SHOWN, with whiskers over the resamples."""
    rows = list(found[:SHOWN])[::-1]
    drawn = {
        "type": "bar",
        "orientation": "h",
        "y": [f"{text(row.name)}  <b>{row.share:.0%}</b>" for row in rows],
        "x": [row.share for row in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [row.high - row.share for row in rows],
            "arrayminus": [row.share - row.low for row in rows],
            "color": COLOURS["pruned"],
            "thickness": 1.5,
        },
        "customdata": [row.range for row in rows],
        "hovertemplate": "%{y}<br>%{customdata}<extra></extra>",
        "marker": {"color": COLOURS["complete"]},
    }
    shape = figure([drawn], x="share", y="", height=100 + 26 * len(rows))
    shape["layout"]["xaxis"].update(tickformat=".0%", rangemode="tozero")
    return shape


def slices(summary: Summary, first: Sequence[str] = ()) -> Mapping[str, Figure]:
    """Draw the value against each searched parameter, those in ``first`` before the others."""
    rows = [row for row in summary.rows if finite(row.value) and row.reason is None]
    rows = thinned(rows, summary, MARKS)
    varied = [name for name in summary.space if len(taken(rows, name)) > 1]
    order = {name: place for place, name in enumerate(first)}
    varied.sort(key=lambda name: order.get(name, len(order)))
    return {name: _slice(name, rows, summary) for name in varied}


def _slice(name: str, rows: Sequence[Row], summary: Summary) -> Figure:
    kind = summary.space[name]
    rows = [row for row in rows if name in row.params]
    nominal = isinstance(kind, CategoricalDistribution)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [text(word(row.params[name])) if nominal else row.params[name] for row in group],
            "y": [row.value for row in group],
            "text": [f"#{row.number} {row.value:.6g}" for row in group],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": COLOURS[state], "size": 7, "symbol": symbol},
        }
        for state, symbol in (("pruned", "circle-open"), ("complete", "circle"))
        if (group := [row for row in rows if row.state == state])
    ]
    values = [row.value for row in rows if row.value is not None]
    shape = figure(traces, x=name, y="", y_range=robust_range(values), height=240, showlegend=False)
    axis = shape["layout"]["xaxis"]
    axis.update(_axis(kind, [row.params[name] for row in rows]))
    if not nominal:
        axis["tickangle"] = 0  # otherwise plotly.js rotates the names
    return shape


def _axis(kind: BaseDistribution, values: Sequence[Any]) -> dict[str, Any]:
    """Return plotly.js's settings of a parameter's axis."""
    if isinstance(kind, CategoricalDistribution):
        known = [text(word(choice)) for choice in kind.choices]
        order = {"categoryorder": "array", "categoryarray": known}
        short = [text(shorten(word(choice), LETTERS)) for choice in kind.choices]
        stride = math.ceil(len(known) / MOST_NAMES)
        labels = {"tickvals": known[::stride], "ticktext": short[::stride]}
        return {"type": "category", "tickmode": "array", **labels, **order}
    if getattr(kind, "log", False):
        ticks = log_ticks(min(values), max(values))
        shown = [f"{tick:.4g}" for tick in ticks]
        return {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": shown}
    few = isinstance(kind, IntDistribution) and max(values) - min(values) <= MOST_TICKS
    return {"type": "linear", **({"dtick": 1} if few else {"nticks": MOST_TICKS})}


def log_ticks(low: float, high: float) -> list[float]:
    """Return at most MOST_TICKS round numbers: powers of ten, and 2 and 5 if there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [k * 10.0**power for power in powers for k in digits]
        ticks = [tick for tick in ticks if 0.9 * low <= tick <= 1.1 * high]
        if 2 <= len(ticks) <= MOST_TICKS:
            return ticks
    return ticks[:: math.ceil(len(ticks) / MOST_TICKS)] if len(ticks) > 1 else [low, high]
