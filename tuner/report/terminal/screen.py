"""Consoles for the views, which print only printable characters."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from tuner.log import printable

UNCUT = 10_000
"""Number of columns in a file or a pipe, where no text may be lost."""


class Screen(Console):
    """A console that writes only printable characters; see ``tuner.log.printable``."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def grid(style: str = "bold") -> Table:
    """Return an empty table without lines; ``style`` is that of the titles."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=style)


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not interpret names such as ``acc[/x]`` as markup."""
    return Screen(stderr=stderr, markup=False, emoji=False)


def width(console: Console) -> int:
    """Return the columns of a terminal; without one, lines are not cut."""
    return console.width if console.is_terminal else UNCUT
