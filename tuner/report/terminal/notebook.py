"""Show a running study in a notebook: a text picture below the cell that is redrawn."""

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
    """A view in the output of a cell, updated with nothing but IPython's display.

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
        """Redraw the study."""
        drawn = picture(summary, width=WIDTH, rows=ROWS, n_trials=self.n_trials, epochs=self.epochs)
        self.last = drawn
        self._draw(drawn)

    def away(self, reason: str) -> None:
        """Redraw the last picture, and the reason why there is no new one."""
        self._draw(self.last, Text(f"the study cannot be read at present: {reason}", "yellow"))

    def _draw(self, *drawn: RenderableType) -> None:
        display: Any = importlib.import_module("IPython.display")  # always present in a notebook
        html = display.HTML(as_html(*drawn))
        if self.handle is None:
            self.handle = display.display(html, display_id=True)
        else:
            self.handle.update(html)


def as_html(*drawn: RenderableType) -> str:
    """Return HTML that looks like the output on a terminal, with its colours."""
    console = Console(
        record=True, file=io.StringIO(), width=WIDTH, markup=False, emoji=False,
        force_jupyter=False, force_terminal=True, color_system="truecolor",
    )  # fmt: skip
    console.print(*drawn, sep="\n")
    return printable(console.export_html(inline_styles=True, code_format=FRAME))
