"""One HTML page that compares two studies."""

from collections.abc import Callable, Sequence

from tuner.report.analysis import two_studies
from tuner.report.analysis.two_studies import Step
from tuner.report.html.document import render
from tuner.report.html.plots import Figure, figure, robust_range, text
from tuner.report.summary import Summary

LINES = ("#2f81f7", "#e8590c")
"""Colours of the two studies, legible on white and black."""
UNITS = ((1.0, "device hours"), (60.0, "device minutes"), (3600.0, "device seconds"))
"""Units per hour, and their names."""


def page(one: Summary, other: Summary) -> str:
    """Return the page as text; it includes a bundle of plotly.js of 1 MB."""
    costs: dict[str, tuple[str, Callable[[Step], float]]] = {}
    pair = [(each.name, two_studies.progress(each)) for each in (one, other)]
    if two_studies.comparable(one, other):
        longest = max((step.hours for _, steps in pair for step in steps), default=0.0)
        factor, unit = next((u for u in UNITS if longest * u[0] >= 2), UNITS[-1])
        costs["epochs"] = "epochs", lambda step: step.epochs
        costs["time"] = unit, lambda step: factor * step.hours
    return render(
        "comparison.html.j2",
        {name: _drawn(pair, x, cost, one.metric) for name, (x, cost) in costs.items()},
        one=one,
        other=other,
        titles=two_studies.titles(one, other),
        overview=two_studies.overview(one, other),
        costs={name: x for name, (x, _) in costs.items()},
        differences=two_studies.differences(one, other),
    )


def _drawn(
    pair: Sequence[tuple[str, Sequence[Step]]], x: str, cost: Callable[[Step], float], metric: str
) -> Figure | str:
    """Draw the best so far of two studies against a cost, or return a note if there is none."""
    traces = []
    for (name, steps), colour in zip(pair, LINES, strict=True):
        known = [step for step in steps if step.best is not None]
        hover = f"%{{text}} of {text(name)}<br>%{{x:.4g}} {x}: %{{y:.5g}}<extra></extra>"
        traces.append({
            "type": "scatter",
            "mode": "lines",
            "name": text(name),
            "x": [cost(step) for step in known],
            "y": [step.best for step in known],
            "text": [f"#{step.number}" for step in known],
            "hovertemplate": hover,
            "line": {"color": colour, "shape": "hv", "width": 2},
        })  # fmt: skip
    values = [step.best for _, steps in pair for step in steps if step.best is not None]
    if not values:
        return "No configuration is complete."
    shape = figure(traces, x=x, y=metric, y_range=robust_range(values))
    shape["layout"]["xaxis"]["rangemode"] = "tozero"
    return shape
