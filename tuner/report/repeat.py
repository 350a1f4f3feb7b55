"""The commands that repeat a configuration, or the whole search, as a stranger may see them."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from tuner.provenance import SECRET
from tuner.report.rows import Row
from tuner.report.summary import Summary

DIRECTORY = "--config-dir="


def train_line(summary: Summary, row: Row) -> str:
    """What trains a configuration again; empty for a study that another program made."""
    words = [*options(summary.attrs.get("command") or ()), *row.overrides]
    return shlex.join(["tuner", "train", *shared(words)]) if row.overrides else ""


def options(command: Sequence[str]) -> list[str]:
    """Where the command found its configuration; overrides are those of the row."""
    value = [before == "--config-name" for before in ("", *command)]
    return [
        text
        for text, is_value in zip(command, value, strict=False)
        if is_value or text.startswith("--")
    ]


def tune_line(summary: Summary) -> str:
    """What makes the whole search again; empty where nobody noted it."""
    command = summary.attrs.get("command")
    return "" if command is None else shlex.join(["tuner", "tune", *shared(command)])


def shared(overrides: Iterable[object]) -> list[str]:
    """Overrides and options without where the database, the data and directories lie here."""
    kept = [str(item) for item in overrides]
    return [_placeless(item) for item in kept if not item.lstrip("+~").startswith(SECRET)]


def _placeless(item: str) -> str:
    if item.startswith("data.root="):
        return "data.root=DIR"
    if item.startswith(DIRECTORY):  # in a copy of the project it has the same name
        return DIRECTORY + PurePath(item.removeprefix(DIRECTORY)).name
    return item
