"""A study as the commands see it that only look at it, and the commands that they name."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.cli.command_lines import command_line
from tuner.errors import Mistake, TunerError
from tuner.report.analysis import no_result
from tuner.report.commands import UNKNOWN, Commands, OfBest
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.study.location import Location
from tuner.study.study import Study

if TYPE_CHECKING:
    from tuner.study.plan import Plan


@dataclass(frozen=True)
class View:
    """A study that was given by its name alone, so that nothing is known of its search.

    ``tuner.cli.context.Planned`` is one whose configuration was composed.
    """

    args: argparse.Namespace
    location: Location
    plan: "Plan | None" = None

    def load(self) -> Study:
        """Load the study, which must exist, for reading."""
        return self.location.load()

    @property
    def repeats(self) -> Commands:
        """The commands that repeat a trial or the search, as far as the plan tells them."""
        return UNKNOWN

    def commands(self, found: Summary) -> Commands:
        """Return the commands that a report on the study shows."""
        return OfBest(found.best.number, self.train_line(found.best)) if found.best else UNKNOWN

    def train_line(self, _best: Row) -> str:
        """Return the command that trains the best trial again, to paste into a shell."""
        return f"tuner train $({command_line(self.args, 'best')} --overrides)"

    def overrides(self, _row: Row) -> list[str] | None:
        """Return the overrides that repeat a trial; None, with a warning, if they are refused."""
        return None

    def shell_words(self, row: Row) -> list[str]:
        """Return options and overrides that repeat a trial, without spaces as far as possible.

        Raises:
            RowRefused: The trial is not of the plan, or there is no plan.
        """
        return self.repeats.overrides(row)

    def again(self, _row: Row) -> str:
        """Return the command that repeats a trial, which may have failed; empty if unknown."""
        return ""

    def best_row(self, found: Summary) -> Row:
        """Return the best trial.

        Raises:
            TunerError: No trial is complete; the message has the causes if none will be.
        """
        if found.best is None:
            told = f"study {found.name!r} has no completed trial yet (got {found.tally or 'none'})"
            none = Mistake("", told, "tuner status shows its progress")
            raise TunerError([no_result.explain(found, self.again) or none])
        return found.best
