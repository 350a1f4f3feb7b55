"""Draw the current state of a study on a terminal: running trials, best trial, budget."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuner.report.analysis import pareto
from tuner.report.configurations import Row, alike
from tuner.report.formatting import duration, finite, metric, plain
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import best_line, settings
from tuner.report.terminal.screen import grid

COLOURS = {
    "complete": "green",
    "pruned": "yellow",
    "infeasible": "magenta",
    "failed": "red",
    "running": "cyan",
    "queued": "bright_black",
}
LEVELS = "▁▂▃▄▅▆▇█"
WIDE, WIDER = 76, 104
"""Number of columns from which on curves, and the location of each trial, are shown as well."""


def picture(
    summary: Summary,
    *,
    width: int,
    rows: int,
    n_trials: int | None,
    epochs: int | None,
    elapsed: float | None = None,
) -> RenderableType:
    """Draw the whole view, at most ``width`` columns wide.

    Args:
        rows: The maximum number of running trials to show.
        epochs: The length of a trial, if known.
        elapsed: Seconds to show instead of the work time of the study.
    """
    active = [row for row in summary.rows if row.state == "running"]
    shown: list[RenderableType] = [
        _head(summary),
        _budget(summary, width, n_trials, epochs, summary.wall if elapsed is None else elapsed),
        _counts(summary),
        _line(best_line(summary)),
    ]
    if active:
        shown += [Text(), _running(active[:rows], summary, width, epochs)]
    if len(active) > rows:
        shown.append(Text(f"and {len(active) - rows} more", "bright_black"))
    return Group(*shown)


def remaining(summary: Summary, n_trials: int | None, epochs: int | None) -> float | None:
    """Estimate the seconds of work left at the pace so far, counting running trials by epochs.

    The result is None if the number of configurations is unknown.
    """
    if n_trials is None or summary.over == 0 or summary.wall <= 0:
        return None
    active = [row for row in summary.rows if row.state == "running"]
    part = sum(min(1.0, row.epoch / epochs) for row in active) if epochs else 0.0
    done = summary.over + part
    return max(0.0, summary.wall * (n_trials - done) / done)


def _head(summary: Summary) -> Text:
    head = _line(plain(summary.name), "bold")
    arrow = "highest" if summary.maximize else "lowest"
    head.append(f"  {arrow} {plain(summary.metric)}", "bright_black")
    if summary.workers:
        hosts = len({worker.host for worker in summary.workers})
        count = len(summary.workers)
        where = f" on {hosts} machines" * (hosts > 1)
        head.append(f"  {count} worker{'s' * (count > 1)}{where}", "bright_black")
    return head


def _budget(
    summary: Summary, width: int, n_trials: int | None, epochs: int | None, elapsed: float
) -> Text:
    """Draw how much of the budget is spent, and the time spent and left."""
    times = duration(int(elapsed)) if elapsed >= 10 else f"{elapsed:.0f} s"
    left = remaining(summary, n_trials, epochs)
    if n_trials is None:
        share = max(summary.budget, key=lambda share: share.part, default=None)
        part, told = (share.part, str(share)) if share else (0.0, f"{summary.over} configurations")
    else:
        over = min(summary.over, n_trials)
        part, told = over / n_trials if n_trials else 1.0, f"{over} of {n_trials}"
        if left is not None and over < n_trials and summary.counts["running"]:
            times += f", about {duration(max(10, left))} left"
    text = f"  {told}  {times}"
    return _bar(part, min(40, max(8, width - len(text)))).append(text)


def _bar(part: float, width: int) -> Text:
    """Draw a bar: thick for the finished part and thin for the rest, distinct without colours."""
    done = round(width * min(1.0, max(0.0, part)))
    bar = Text("━" * done, "cyan", no_wrap=True, overflow="ellipsis")
    return bar.append("─" * (width - done), "bright_black")


def _counts(summary: Summary) -> Text:
    parts = [(f"{n} {state}", COLOURS[state]) for state, n in summary.counts.items() if n]
    return _line("  ").join(Text(part, style) for part, style in parts) or Text("starting", "dim")


def _running(rows: Sequence[Row], summary: Summary, width: int, epochs: int | None) -> Table:
    """Return a table with one line per running trial."""
    lines = grid("bright_black")
    lines.add_column("#", justify="right", no_wrap=True)
    lines.add_column("epoch", no_wrap=True)
    lines.add_column(plain(summary.metric)[:16], no_wrap=True, justify="right")
    lines.add_column("time", justify="right", no_wrap=True)
    if width >= WIDE:
        lines.add_column("curve", no_wrap=True)
    places = _places(rows, summary) if width >= WIDER else []
    if places:
        lines.add_column("where", no_wrap=True, overflow="ellipsis")
    bar, curve = min(24, max(8, width // 6)), min(24, width // 6)
    for k, row in enumerate(rows):
        epoch = Text(f"{row.epoch}")
        if epochs:
            count = f"{row.epoch}/{epochs}".rjust(2 * len(str(epochs)) + 1)
            epoch = _bar(row.epoch / epochs, bar).append(f" {count}")
        cells = [Text(f"{row.number}"), epoch, Text(metric(row.latest)), _time(row)]
        if width >= WIDE:
            cells.append(Text(sparkline(row, curve, epochs), "cyan"))
        if places:
            cells.append(_line(places[k]))
        lines.add_row(*cells)
    return lines


def _places(rows: Sequence[Row], summary: Summary) -> list[str]:
    """Return host and device of each row; empty if the study has used only one device."""
    hosts = {worker.id: worker.host for worker in summary.workers}

    def place(row: Row) -> str:
        return plain(f"{hosts.get(row.worker or '', '')} {row.device or ''}")

    several = len({place(row) for row in summary.rows} - {""}) > 1
    return [place(row) for row in rows] if several else []


def _time(row: Row) -> Text:
    return Text(duration(row.seconds if row.seconds < 60 else int(row.seconds)))


def sparkline(row: Row, width: int, epochs: int | None) -> str:
    """Draw the curve so far over its own range; a whole trial fills ``width`` characters."""
    curve = [row.curve[step] for step in sorted(row.curve)]
    length = max(epochs or len(curve), len(curve), 1)
    cells = min(width, length)
    taken = math.ceil(len(curve) * cells / length)
    known = [value for value in curve if finite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    marks = []
    for k in range(taken):
        value = curve[min(len(curve) - 1, k * length // cells)]
        share = (value - low) / (high - low) if high > low else 0.5
        marks.append(LEVELS[min(7, max(0, int(8 * share)))] if math.isfinite(value) else " ")
    return "".join(marks)


def table(summary: Summary, top: int = 10) -> Table:
    """Return the ``top`` completed configurations, best first, one line each."""
    # Truncate here: a column that does not wrap would take width from the numbers.
    return _ranking(summary, top, lambda row: _line(settings(row)))


def pareto_table(summary: Summary) -> Table:
    """Return the Pareto front with all settings, for users to choose from."""
    front = pareto.front(summary)
    rows = [[f"{row.number}", *map(metric, row.values), settings(row)] for row in front]
    return columns(["#", *summary.objectives, "settings"], rows)


def closing(summary: Summary, top: int = 5) -> RenderableType:
    """Return the ``top`` configurations with all settings; common settings appear once."""
    rows = summary.ranking[:top]
    same = alike(rows)
    ranked = _ranking(summary, top, lambda row: Text(settings(row, without=same)))
    return with_common(ranked, rows, same)


def with_common(lines: Table, rows: Sequence[Row], same: Collection[str]) -> RenderableType:
    """Return a table of configurations, and below it the settings that all of them share."""
    if not same:
        return lines
    others = settings(rows[0], without=rows[0].settings.keys() - same)
    return Group(lines, Text(f"the same in all of them: {others}"))


def _ranking(summary: Summary, top: int, last: Callable[[Row], Text]) -> Table:
    lines = grid()
    for title in ("#", *map(plain, summary.objectives), "epochs", "time"):
        lines.add_column(title, justify="right", no_wrap=True)
    lines.add_column("settings")
    for row in summary.ranking[:top]:
        cells = (*map(metric, row.values), str(row.epoch or ""), duration(row.seconds))
        lines.add_row(f"{row.number}", *map(Text, cells), last(row))
    return lines


def columns(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return plain columns, of which the last one wraps at the end of the line."""
    lines = grid("bright_black")
    for title in titles[:-1]:
        lines.add_column(title, no_wrap=True, overflow="ellipsis")
    lines.add_column(titles[-1], overflow="fold")
    for *cells, last in rows:
        lines.add_row(*(_line(plain(cell)) for cell in cells), Text(plain(last)))
    return lines


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
