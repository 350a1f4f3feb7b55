"""Show two studies side by side on a terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuner.report.analysis import two_studies
from tuner.report.analysis.two_studies import Cells
from tuner.report.formatting import plain
from tuner.report.summary import Summary
from tuner.report.terminal.screen import grid


def side_by_side(one: Summary, other: Summary) -> RenderableType:
    """Return the results of two studies side by side, and their differences below, by topic."""
    table = grid()
    for title in two_studies.titles(one, other):
        table.add_column(plain(title), overflow="fold")
    _add(table, two_studies.overview(one, other))
    apart = two_studies.differences(one, other)
    for topic, rows in apart.items():
        table.add_row()
        table.add_row(Text(f"differs in {topic}", "bold"))
        _add(table, rows)
    if apart:
        return table
    return Group(table, Text(), Text("no differences in settings or best configuration"))


def _add(table: Table, rows: Iterable[Cells]) -> None:
    for cells in rows:
        table.add_row(*(Text(plain(cell)) for cell in cells))
