"""Build the commands that repeat a configuration or the whole search from the current command.

Commands and overrides stored in the database are only compared with these, and never printed.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from tuner.errors import RowRefused
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.study import vetting
from tuner.study.create import SECRET
from tuner.study.plan import Plan

DIRECTORY = "--config-dir="


@dataclass(frozen=True)
class Repeats:
    """Builds the commands from the current command's plan; without a plan there are none."""

    plan: Plan | None = None

    def overrides(self, row: Row) -> list[str]:
        """Return the overrides that train a configuration again.

        Raises:
            RowRefused: The trial does not fit the current command.
        """
        if self.plan is None:
            raise RowRefused("nothing is known of its search", key=f"trial {row.number}")
        return vetting.overrides(self.plan, row.number, row.params, row.stored)

    def known(self, row: Row) -> list[str] | None:
        """Return the overrides that train a configuration again, None if the trial is refused."""
        try:
            return self.overrides(row)
        except RowRefused:
            return None

    def train_line(self, row: Row) -> str:
        """Return the ``tuner train`` command without local paths; empty if the trial is refused."""
        words = self.known(row)
        if self.plan is None or words is None:
            return ""
        return shlex.join(["tuner", "train", *shared([*self.plan.source.argv(), *words])])

    def tune_line(self, summary: Summary) -> str:
        """Return the ``tuner tune`` command; empty if the study is of another search."""
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
    """Return overrides and options without the locations of database, data and directories."""
    kept = [str(item) for item in overrides]
    return [_placeless(item) for item in kept if not item.lstrip("+~").startswith(SECRET)]


def _placeless(item: str) -> str:
    if item.startswith("data.root="):
        return "data.root=DIR"
    if item.startswith(DIRECTORY):  # it has the same name in a copy of the project
        return DIRECTORY + PurePath(item.removeprefix(DIRECTORY)).name
    return item
