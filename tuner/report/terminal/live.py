"""Follow a running study: a live view on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import StreamHandler

from optuna.exceptions import OptunaError
from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from tuner.errors import TunerError
from tuner.log import log
from tuner.report.formatting import plain
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import Lines
from tuner.report.terminal.notebook import Notebook
from tuner.report.terminal.view import picture
from tuner.storage import outages

PAUSE = 0.2  # seconds between two checks whether workers still run

ABOVE = (
    (ControlType.CARRIAGE_RETURN,),
    (ControlType.ERASE_IN_LINE, 2),
    (ControlType.CURSOR_UP, 1),
)
"""Escape sequence that erases the cursor's line and moves to the one above."""

Whole = Callable[[Summary, int, int], RenderableType]
"""Draws a summary, given the width in columns and the maximum number of running trials."""


def follow(
    snapshot: Callable[[], Summary],
    running: Callable[[], bool],
    *,
    console: Console,
    n_trials: int | None,
    epochs: int | None,
    every: float = 1.0,
    whole: Whole | None = None,
) -> None:
    """Show a study until ``running`` is false, and once more after that.

    ``snapshot`` is called at most every ``every`` seconds, and takes at most a tenth of the time.
    ``whole`` replaces the default view of a terminal. While the database cannot be read, the last
    picture remains.
    """
    view: _Screen | Notebook | Lines
    if console.is_jupyter:
        view = Notebook(n_trials, epochs)
    elif is_live(console):
        view = _Screen(console, n_trials, epochs, whole)
    else:
        view = Lines(console, n_trials)
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


@contextmanager
def beside(
    snapshot: Callable[[], Summary], *, console: Console, n_trials: int | None, epochs: int | None
) -> Iterator[None]:
    """Show a study during the block, from another thread, if the console can redraw."""
    if not (console.is_jupyter or is_live(console)):
        yield
        return
    done = threading.Event()
    view = threading.Thread(
        target=follow,
        args=(snapshot, lambda: not done.is_set()),
        kwargs={"console": console, "n_trials": n_trials, "epochs": epochs, "every": 2.0},
        name="tuner-view",
        daemon=True,
    )
    view.start()
    try:
        yield
    finally:
        done.set()
        view.join(10)


def _look(snapshot: Callable[[], Summary], view: "_Screen | Notebook | Lines") -> None:
    try:
        summary = snapshot()
    except (SQLAlchemyError, OptunaError, TunerError) as error:
        view.away(plain(outages.reason(error)))
    else:
        view.show(summary)


def is_live(console: Console) -> bool:
    """Return whether the console can redraw; FORCE_COLOR does not turn a file into a terminal."""
    isatty = getattr(console.file, "isatty", lambda: False)
    return bool(isatty()) and not console.is_dumb_terminal


class _Screen:
    """A view that is redrawn in place and leaves its last picture behind."""

    def __init__(
        self, console: Console, n_trials: int | None, epochs: int | None, whole: Whole | None
    ) -> None:
        self.whole = whole
        self.n_trials = n_trials
        self.epochs = epochs
        self.began = time.monotonic()
        self.last: Summary | None = None
        self.drawn: RenderableType = Text()
        self.width, self.height = console.size
        # Redraw on news, at most once per second: a refresh thread would only flicker.
        self.live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> "_Screen":
        before = sys.stderr
        self.live.start()
        # Live prints what is written to its own stderr above the picture; logging to the original
        # stderr would damage it.
        for handler in log.handlers:
            if isinstance(handler, StreamHandler) and handler.stream is before:
                handler.setStream(sys.stderr)
        return self

    def __exit__(self, *details: object) -> None:
        above = sys.stderr
        self.live.stop()
        self.live.console.print()
        for handler in log.handlers:
            if isinstance(handler, StreamHandler) and handler.stream is above:
                handler.setStream(sys.stderr)

    def show(self, summary: Summary) -> None:
        self.last = summary
        height = self.live.console.size.height
        self._draw(self._picture(summary, rows=max(1, height - 8)))

    def away(self, reason: str) -> None:
        note = Text(f"the study cannot be read at present: {reason}", "yellow", no_wrap=True)
        shown = [self._picture(self.last, rows=8), note] if self.last else [note]
        self._draw(Group(*shown))

    def _draw(self, drawn: RenderableType) -> None:
        console = self.live.console
        if console.width < self.width:
            console.control(Control(*ABOVE * self._folded(console.width)))
        self.drawn, self.width, self.height = drawn, console.width, console.height
        self.live.update(drawn, refresh=True)

    def _folded(self, width: int) -> int:
        """Return how many lines the last picture has gained because the terminal is narrower."""
        console = self.live.console
        options = console.options.update(width=self.width)
        lines = console.render_lines(self.drawn, options, pad=False)[: self.height]
        lengths = (Segment.get_line_length(line) for line in lines)
        return sum(max(0, length - 1) // width for length in lengths)

    def _picture(self, summary: Summary, *, rows: int) -> RenderableType:
        if self.whole is not None:
            return self.whole(summary, self.live.console.width, rows)
        return picture(
            summary,
            width=self.live.console.width,
            rows=rows,
            n_trials=self.n_trials,
            epochs=self.epochs,
            elapsed=time.monotonic() - self.began,
        )
