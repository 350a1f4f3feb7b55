"""Show a running study in a notebook: a picture that is redrawn below the cell."""

import importlib
import io
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from tuner.log import printable
from tuner.report.summary import Summary
from tuner.report.terminal.view import picture

WIDTH, ROWS = 100, 20
"""Columns of the picture, and the maximum number of running trials in it."""
FRAME = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{code}</pre>'


class Notebook:
    """A view that is replaced in the output of a cell, by IPython's display alone.

    Rich's own live display needs ipywidgets.
    """

    def __init__(self, n_trials: int | None, epochs: int | None) -> None:
        self.n_trials, self.epochs = n_trials, epochs
        self.last: RenderableType = Text()
        self.handle: Any = None

    def __enter__(self) -> "Notebook":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, summary: Summary) -> None:
        """Draw the study anew."""
        drawn = picture(summary, width=WIDTH, rows=ROWS, n_trials=self.n_trials, epochs=self.epochs)
        self.last = drawn
        self._draw(drawn)

    def away(self, reason: str) -> None:
        """Draw the last picture, and why there is no later one."""
        self._draw(self.last, Text(f"the study cannot be read for now: {reason}", "yellow"))

    def _draw(self, *drawn: RenderableType) -> None:
        display: Any = importlib.import_module("IPython.display")  # there where a notebook is
        html = display.HTML(as_html(*drawn))
        if self.handle is None:
            self.handle = display.display(html, display_id=True)
        else:
            self.handle.update(html)


def as_html(*drawn: RenderableType) -> str:
    """Return what a terminal would show as HTML with its colours."""
    console = Console(
        record=True, file=io.StringIO(), width=WIDTH, markup=False, emoji=False,
        force_jupyter=False, force_terminal=True, color_system="truecolor",
    )  # fmt: skip
    console.print(*drawn, sep="\n")
    return printable(console.export_html(inline_styles=True, code_format=FRAME))
