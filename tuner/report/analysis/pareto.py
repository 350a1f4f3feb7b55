"""The Pareto front of a study with several objectives."""

from typing import Any

from tuner.report.configurations import Repeat, Row, as_data
from tuner.report.summary import Summary
from tuner.study import objectives


def front(summary: Summary) -> list[Row]:
    """Return the Pareto-optimal completed trials, the best metric first.

    Trials that violated a constraint were pruned and are not included. With one objective, the
    front is the best trial.
    """
    ways = [-1 if maximized else 1 for maximized in summary.objectives.values()]
    rows = {row.number: row for row in summary.ranking if len(row.values) == len(ways)}
    points = {
        number: tuple(way * value for way, value in zip(ways, row.values, strict=True))
        for number, row in rows.items()
    }
    return [rows[number] for number in objectives.front(points)]


def data(summary: Summary, repeat: Repeat) -> list[dict[str, Any]]:
    """Return the front as plain data; ``values`` has each objective by its name."""
    return [
        as_data(row, repeat) | {"values": dict(zip(summary.objectives, row.values, strict=True))}
        for row in front(summary)
    ]
