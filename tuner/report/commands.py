"""The commands in a report, which train a configuration again or run the search again."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from tuner.errors import RowRefused
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.study.location import SECRET

DIRECTORY = "--config-dir="


class Commands:
    """No commands, for a study of an unknown search; ``reproduce.Repeats`` builds real ones."""

    def overrides(self, row: Row) -> list[str]:
        """Return the overrides that train a configuration again.

        Raises:
            RowRefused: The trial does not fit the current command.
        """
        raise RowRefused("its search is unknown", key=f"trial {row.number}")

    def known(self, row: Row) -> list[str] | None:
        """Return the overrides that train a configuration again, None if the trial is refused."""
        try:
            return self.overrides(row)
        except RowRefused:
            return None

    def train_line(self, row: Row) -> str:
        """Return the ``tuner train`` command without local paths; empty if none is known."""
        return ""

    def tune_line(self, summary: Summary) -> str:
        """Return the ``tuner tune`` command; empty if none is known."""
        return ""


UNKNOWN = Commands()


@dataclass(frozen=True)
class OfBest(Commands):
    """A single command, which trains the best trial again by querying its overrides."""

    number: int
    command: str

    def train_line(self, row: Row) -> str:
        return self.command if row.number == self.number else ""


def shared(overrides: Iterable[object]) -> list[str]:
    """Return overrides and options without the locations of database, data and directories."""
    kept = [str(item) for item in overrides]
    return [_placeless(item) for item in kept if not item.lstrip("+~").startswith(SECRET)]


def _placeless(item: str) -> str:
    if item.startswith("data.root="):
        return "data.root=DIR"
    if item.startswith(DIRECTORY):  # it has the same name in a copy of the project
        return DIRECTORY + PurePath(item.removeprefix(DIRECTORY)).name
    return item
