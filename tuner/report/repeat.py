"""The commands that repeat a configuration, or the whole search, in this command's own words.

What is stored with a study and its trials is compared with those, and never printed to be run.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from tuner import vetting
from tuner.errors import RowRefused
from tuner.plan import Plan
from tuner.provenance import SECRET
from tuner.report.rows import Row
from tuner.report.summary import Summary

DIRECTORY = "--config-dir="


@dataclass(frozen=True)
class Repeats:
    """By the plan of the command that shows a study; without one nothing is known."""

    plan: Plan | None = None

    def overrides(self, row: Row) -> list[str]:
        """Those that train a configuration again.

        Raises: RowRefused where this command would not have made them.
        """
        if self.plan is None:
            raise RowRefused([f"trial {row.number}: nothing is known of its search"])
        return vetting.overrides(self.plan, row.number, row.params, row.stored)

    def known(self, row: Row) -> list[str] | None:
        """The same, None where they are refused."""
        try:
            return self.overrides(row)
        except RowRefused:
            return None

    def train_line(self, row: Row) -> str:
        """What trains it again, as a stranger may see it; empty where that is refused."""
        words = self.known(row)
        if self.plan is None or words is None:
            return ""
        return shlex.join(["tuner", "train", *shared([*self.plan.source.argv(), *words])])

    def tune_line(self, summary: Summary) -> str:
        """What makes the whole search again; empty where this command is not of that search."""
        plan = self.plan
        if plan is None or not self._is_of(summary, plan):
            return ""
        return shlex.join(["tuner", "tune", *shared([*plan.source.argv(), *plan.overrides])])

    def _is_of(self, summary: Summary, plan: Plan) -> bool:
        stored = summary.attrs
        own = (plan.space.rows(), plan.study.metric, plan.seed, list(plan.pins))
        return own == tuple(stored.get(key) for key in ("space", "metric", "seed", "overrides"))


UNKNOWN = Repeats()


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
