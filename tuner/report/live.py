"""The view of a running study: calm on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable, Iterable
from logging import StreamHandler

from optuna.exceptions import OptunaError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from tuner.errors import TunerError
from tuner.log import log
from tuner.report.lines import Lines, best_line, settings
from tuner.report.summary import Row, Summary
from tuner.report.wording import duration, metric, plain

PAUSE = 0.2  # between two questions whether the workers still run
COLOURS = {
    "complete": "green",
    "pruned": "yellow",
    "failed": "red",
    "running": "cyan",
    "queued": "bright_black",
}


def follow(
    snapshot: Callable[[], Summary],
    running: Callable[[], bool],
    *,
    console: Console,
    n_trials: int | None,
    epochs: int | None,
    every: float = 1.0,
) -> None:
    """Show a study until ``running`` is false, with a last look after that.

    ``snapshot`` is called at most each ``every`` seconds, and never for more than a tenth of the
    time.  While the database cannot be read the last picture stays.
    """
    live = is_live(console)
    view = _Screen(console, n_trials, epochs) if live else Lines(console, n_trials)
    due = 0.0
    with view:
        while running():
            if time.monotonic() >= due:
                began = time.monotonic()
                _look(snapshot, view)
                cost = time.monotonic() - began
                due = time.monotonic() + max(every, 9 * cost)
            time.sleep(min(PAUSE, every))
        _look(snapshot, view)


def _look(snapshot: Callable[[], Summary], view: "_Screen | Lines") -> None:
    try:
        summary = snapshot()
    except (SQLAlchemyError, OptunaError, TunerError) as error:
        view.away(plain(str(error).partition("\n")[0]))
    else:
        view.show(summary)


def is_live(console: Console) -> bool:
    """Whether the console can redraw: FORCE_COLOR colours a log file, it makes it no terminal."""
    isatty = getattr(console.file, "isatty", lambda: False)
    return bool(isatty()) and not console.is_dumb_terminal


class _Screen:
    """A view redrawn in place; it leaves its last picture behind."""

    def __init__(self, console: Console, n_trials: int | None, epochs: int | None) -> None:
        self.n_trials = n_trials
        self.epochs = epochs
        self.began = time.monotonic()
        self.last: Summary | None = None
        # We redraw when there is news, at most once a second: a refresh thread would only flicker.
        self.live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> "_Screen":
        before = sys.stderr
        self.live.start()
        # Live prints what is written to its own stderr above the picture; what is logged to the
        # one before would tear it.
        for handler in log.handlers:
            if isinstance(handler, StreamHandler) and handler.stream is before:
                handler.setStream(sys.stderr)
        return self

    def __exit__(self, *details: object) -> None:
        above = sys.stderr
        self.live.stop()
        for handler in log.handlers:
            if isinstance(handler, StreamHandler) and handler.stream is above:
                handler.setStream(sys.stderr)

    def show(self, summary: Summary) -> None:
        self.last = summary
        height = self.live.console.size.height
        self.live.update(self._picture(summary, rows=max(1, height - 8)), refresh=True)

    def away(self, reason: str) -> None:
        note = Text(f"the study cannot be read for now: {reason}", "yellow", no_wrap=True)
        shown = [self._picture(self.last, rows=8), note] if self.last else [note]
        self.live.update(Group(*shown), refresh=True)

    def _picture(self, summary: Summary, *, rows: int) -> RenderableType:
        elapsed = time.monotonic() - self.began
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(plain(summary.name), "bold")
        arrow = "highest" if summary.maximize else "lowest"
        head.append(f"  {arrow} {plain(summary.metric)}", "bright_black")
        active = [row for row in summary.rows if row.state == "running"]
        shown: list[RenderableType] = [
            head,
            _budget(
                summary, self.n_trials, elapsed, remaining(summary, self.n_trials, self.epochs)
            ),
            _counts(summary),
            Text(best_line(summary), no_wrap=True, overflow="ellipsis"),
        ]
        if active:
            shown += [Text(), _running(active[:rows], summary, self.epochs)]
        if len(active) > rows:
            shown.append(Text(f"and {len(active) - rows} more", "bright_black"))
        return Group(*shown)


def remaining(summary: Summary, n_trials: int | None, epochs: int | None) -> float | None:
    """Seconds of work left at the pace so far, the running counted by their epochs.

    None where the number of configurations is unknown.
    """
    if n_trials is None:
        return None
    active = [row for row in summary.rows if row.state == "running"]
    part = sum(min(1.0, row.epoch / epochs) for row in active) if epochs else 0.0
    done = summary.over + part
    if summary.over == 0 or summary.wall <= 0:
        return None
    return max(0.0, summary.wall * (n_trials - done) / done)


def _budget(
    summary: Summary, n_trials: int | None, elapsed: float, left: float | None
) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1, min_width=8)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    times = duration(int(elapsed)) if elapsed >= 10 else f"{elapsed:.0f} s"
    if n_trials is None:
        share = max(summary.budget, key=lambda share: share.part, default=None)
        part = min(1.0, share.part) if share else 0.0
        bar = ProgressBar(total=1.0, completed=part, complete_style="cyan")
        grid.add_row(bar, f"{share or summary.over}", times)
        return grid
    over = min(summary.over, n_trials)
    if left is not None and over < n_trials:
        times += f", about {duration(max(10, left))} left"
    bar = ProgressBar(total=n_trials, completed=over, complete_style="cyan")
    grid.add_row(bar, f"{over} of {n_trials}", times)
    return grid


def _counts(summary: Summary) -> Text:
    parts = [(f"{n} {state}", COLOURS[state]) for state, n in summary.counts.items() if n]
    return Text("  ").join(Text(part, style) for part, style in parts) or Text("starting", "dim")


def _running(rows: Iterable[Row], summary: Summary, epochs: int | None) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    grid.add_column("#", justify="right")
    grid.add_column("epoch", min_width=8, max_width=24, ratio=2)
    grid.add_column("", no_wrap=True)
    grid.add_column(plain(summary.metric), no_wrap=True, overflow="ellipsis")
    grid.add_column("time", justify="right", no_wrap=True)
    grid.add_column("device", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        bar = (
            ProgressBar(total=epochs, completed=row.epoch, complete_style="cyan") if epochs else ""
        )
        count = f"{row.epoch}/{epochs}" if epochs else f"{row.epoch}"
        cells = (count, metric(row.latest), duration(row.seconds), plain(row.device or ""))
        grid.add_row(f"{row.number}", bar, *(Text(cell) for cell in cells))
    return grid


def table(summary: Summary, top: int = 10) -> Table:
    """The ``top`` completed configurations, best first, one line each."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("#", plain(summary.metric), "epochs", "time"):
        grid.add_column(title, justify="right", no_wrap=True)
    grid.add_column("settings")
    for row in summary.ranking[:top]:
        cells = (metric(row.value), str(row.epoch or ""), duration(row.seconds))
        # Cut in the cell: a column that may not wrap would take its width from the numbers.
        chosen = Text(settings(row), no_wrap=True, overflow="ellipsis")
        grid.add_row(f"{row.number}", *(Text(cell) for cell in cells), chosen)
    return grid
