"""Draw the trainings of ``tuner final`` on a terminal, one line each, running ones with the epoch.

Unlike a search, they have no best value: the race and the final trainings use different splits.
"""

from rich.console import Group, RenderableType
from rich.text import Text

from tuner.report.configurations import Row
from tuner.report.formatting import metric
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import name_of


def drawn(summary: Summary, width: int, rows: int) -> RenderableType:
    """Return the latest trainings, at most ``width`` columns wide, and ``rows`` of them."""
    count = len(summary.workers)
    head = Text(f"{summary.name}  {count} worker{'s' * (count != 1)}", "bold")
    lines = [head, *(_line(row, summary) for row in summary.rows[-rows:])]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _line(row: Row, summary: Summary) -> Text:
    name = name_of(row, summary)
    if row.state == "running":
        of = "" if row.length is None else f" of {row.length}"
        return Text(f"{name}: epoch {row.epoch + 1}{of}")
    told = metric(row.value) if row.value is not None else row.state
    return Text(f"{name}: {told}", "" if row.state == "complete" else "bright_black")
