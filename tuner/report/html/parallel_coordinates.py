"""Draw parallel coordinates of the searched parameters as a plotly.js figure.

plotly.js has a trace type for this, but it needs WebGL and a page that may compile code from
strings; plain lines work in every browser and under the page's strict policy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from tuner.report.configurations import Row
from tuner.report.formatting import finite, shorten, word
from tuner.report.html.plots import MAX_CURVES, Figure, label, text
from tuner.report.summary import Summary

# Worst to best; each is legible on white and on black.
FIFTHS = ["#8b949e", "#6ca0dc", "#2f81f7", "#a35bd6", "#e8590c"]
NOT_SET = -0.12  # height of a configuration without the parameter, below the axis


@dataclass(frozen=True)
class Axis:
    """One axis: ``places`` are heights in [0, 1] or NOT_SET; ``ticks`` maps height to text."""

    title: str
    places: Sequence[float]
    ticks: dict[float, str]


def parallel(summary: Summary, first: Sequence[str] = (), most: int | None = None) -> Figure | str:
    """Draw completed configurations as lines over the axes, coloured by quintile of rank.

    Branches of one key (``optimizer.lr@sgd``, ``optimizer.lr@adamw``) share an axis. The number of
    axes is limited; parameters named ``first`` are preferred. Returns a note instead if fewer than
    two trials are complete or no parameter varies.
    """
    rows = [row for row in summary.ranking if finite(row.value)]
    rows = rows[:: math.ceil(len(rows) / MAX_CURVES) or 1]
    keys = dict.fromkeys(name.partition("@")[0] for name in (*first, *summary.space))
    axes = [axis for key in keys if (axis := _axis(key, rows, summary))][:most]
    if len(rows) < 2 or not axes:
        return "Parallel coordinates need two completed configurations that differ."
    values = [row.value for row in rows if row.value is not None]
    axes.append(Axis(summary.metric, *_numbers(values, log=False)))
    layout = {
        "height": 440,
        "margin": {"l": 24, "r": 24, "t": 16, "b": 24},
        "xaxis": {"visible": False, "range": [-0.35, len(axes) - 0.75]},
        "yaxis": {"visible": False, "range": [-0.32, 1.05]},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "shapes": [_upright(x) for x in range(len(axes))],
        "annotations": [*chain.from_iterable(_labels(x, axis) for x, axis in enumerate(axes))],
    }
    return {"data": _lines(rows, axes), "layout": layout}


def _axis(key: str, rows: Sequence[Row], summary: Summary) -> Axis | None:
    """Return one axis, or None if fewer than two values occur."""
    present = [row.settings[key] for row in rows if key in row.settings]
    if len({word(value) for value in present}) < 2:
        return None
    kinds = [kind for name, kind in summary.space.items() if name.partition("@")[0] == key]
    choices = [
        c for kind in kinds if isinstance(kind, CategoricalDistribution) for c in kind.choices
    ]
    if choices:
        places, ticks = _categories(present, choices)
    else:
        log = any(getattr(kind, "log", False) for kind in kinds) and min(present) > 0
        whole = all(isinstance(kind, IntDistribution) for kind in kinds)
        places, ticks = _numbers(present, log=log, whole=whole)
    found = iter(places)
    if len(present) < len(rows):
        ticks = {NOT_SET: "not set", **ticks}
    return Axis(key, [next(found) if key in row.settings else NOT_SET for row in rows], ticks)


def _categories(
    values: Sequence[Any], choices: Sequence[Any]
) -> tuple[list[float], dict[float, str]]:
    """Return heights and ticks of the choices that occur, in the order of the space."""
    present = {word(value) for value in values}
    words = [item for item in dict.fromkeys(map(word, [*choices, *values])) if item in present]
    heights = {item: index / (len(words) - 1) for index, item in enumerate(words)}
    return [heights[word(value)] for value in values], {at: item for item, at in heights.items()}


def _numbers(
    values: Sequence[float], *, log: bool, whole: bool = False
) -> tuple[list[float], dict[float, str]]:
    """Return heights and ticks: five at equal distances on the axis's scale, or whole numbers."""
    scaled = [math.log10(value) if log else float(value) for value in values]
    low, high = min(scaled), max(scaled)
    if low == high:
        return [0.5] * len(scaled), {0.5: word(values[0])}
    marks = [low + (high - low) * k / 4 for k in range(5)]
    shown = [10**mark if log else mark for mark in marks]
    if whole:
        shown = sorted({float(round(number)) for number in shown})
        marks = [math.log10(number) if log else number for number in shown]
    ticks = {
        (mark - low) / (high - low): f"{number:.0f}" if whole else f"{number:.3g}"
        for mark, number in zip(marks, shown, strict=True)
    }
    return [(value - low) / (high - low) for value in scaled], ticks


def _lines(rows: Sequence[Row], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return one trace per quintile of the ranking, the best last and therefore on top."""
    count = min(len(FIFTHS), len(rows))
    traces: list[dict[str, Any]] = []
    for part in reversed(range(count)):
        members = range(part * len(rows) // count, (part + 1) * len(rows) // count)
        ends = sorted((rows[members[0]].value or 0.0, rows[members[-1]].value or 0.0))
        lines = [[*(axis.places[k] for axis in axes), None] for k in members]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": " to ".join(dict.fromkeys(f"{end:.4g}" for end in ends)),
                "x": [*range(len(axes)), None] * len(members),
                "y": [*chain.from_iterable(lines)],
                "text": [*chain.from_iterable([label(rows[k])] * (len(axes) + 1) for k in members)],
                "hovertemplate": "%{text}<extra></extra>",
                "line": {"color": FIFTHS[-1 - part], "width": 2.2 if part == 0 else 1.1},
                "opacity": 1 if part == 0 else 0.7,
            }
        )
    return traces


def _upright(x: int) -> dict[str, Any]:
    line = {"color": "#8b949e", "width": 1}
    return {"type": "line", "x0": x, "x1": x, "y0": NOT_SET, "y1": 1, "line": line}


def _labels(x: int, axis: Axis) -> list[dict[str, Any]]:
    # A key may be long: its last part distinguishes the axes, the group is shown above it.
    group, _, leaf = axis.title.rpartition(".")
    title = f"<b>{text(leaf)}</b>" + (f"<br>{text(group)}" if group else "")
    common = {"x": x, "showarrow": False, "font": {"size": 13}}
    ticks = [
        {**common, "y": at, "text": text(shorten(tick, 14)), "xanchor": "right", "xshift": -4}
        for at, tick in axis.ticks.items()
    ]
    return [*ticks, {**common, "y": NOT_SET - 0.04, "text": title, "yanchor": "top"}]
