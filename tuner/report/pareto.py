"""The Pareto front of a study with several objectives."""

from typing import Any

from rich.table import Table
from rich.text import Text

from tuner import aims
from tuner.report.lines import settings
from tuner.report.picture import columns
from tuner.report.rows import Row
from tuner.report.summary import Repeat, Summary, as_data
from tuner.report.wording import metric


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
    return [rows[number] for number in aims.front(points)]


def data(summary: Summary, repeat: Repeat) -> list[dict[str, Any]]:
    """Return the front as plain data; ``values`` has each objective by its name."""
    return [
        as_data(row, repeat) | {"values": dict(zip(summary.objectives, row.values, strict=True))}
        for row in front(summary)
    ]


def table(summary: Summary) -> Table:
    """Return the front as a table with all settings, to choose from."""
    grid = columns(["#", *summary.objectives, "settings"], ())
    for row in front(summary):
        grid.add_row(f"{row.number}", *map(metric, row.values), Text(settings(row)))
    return grid
