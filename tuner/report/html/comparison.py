"""One HTML page that compares two studies."""

from collections.abc import Callable, Sequence

from tuner.report.analysis import two_studies
from tuner.report.analysis.two_studies import Step
from tuner.report.html.document import document, escaped, plain_grid, plot, section
from tuner.report.html.plots import Figure, figure, robust_range, text
from tuner.report.summary import Summary

LINES = ("#2f81f7", "#e8590c")
"""Colours of the two studies, legible on white and black."""
UNITS = ((1.0, "device hours"), (60.0, "device minutes"), (3600.0, "device seconds"))
"""Units per hour, and their names."""


def page(one: Summary, other: Summary) -> str:
    """Return the page as text; it includes a bundle of plotly.js of 1 MB."""
    figures: dict[str, Figure] = {}
    titles = two_studies.titles(one, other)
    apart = two_studies.differences(one, other)
    tables = "".join(f"<h3>{topic}</h3>{plain_grid(titles, rows)}" for topic, rows in apart.items())
    body = [
        f"<h1>{escaped(one.name)} and {escaped(other.name)}</h1>",
        section("What they reached", plain_grid(titles, two_studies.overview(one, other))),
        *_progress(figures, one, other),
        section("What differs", tables or "<p>Nothing: they were asked for the same.</p>"),
    ]
    return document(f"{one.name} and {other.name}", body, figures)


def _progress(figures: dict[str, Figure], one: Summary, other: Summary) -> list[str]:
    if not two_studies.comparable(one, other):
        told = "They searched for different things, so their values cannot be compared."
        return [section("The best so far", f"<p>{told}</p>")]
    pair = [(each.name, two_studies.progress(each)) for each in (one, other)]
    longest = max((step.hours for _, steps in pair for step in steps), default=0.0)
    factor, unit = next((u for u in UNITS if longest * u[0] >= 2), UNITS[-1])
    costs: dict[str, tuple[str, Callable[[Step], float]]] = {
        "epochs": ("epochs", lambda step: step.epochs),
        "time": (unit, lambda step: factor * step.hours),
    }
    return [
        section(f"The best so far, by {x}", plot(figures, name, _drawn(pair, x, cost, one.metric)))
        for name, (x, cost) in costs.items()
    ]


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
