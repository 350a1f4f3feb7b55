"""Build the commands that repeat a configuration or the whole search from the current command.

Commands and overrides stored in the database are only compared with these, and never printed.
"""

import shlex
from dataclasses import dataclass

from tuner.report.commands import Commands, shared
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.study import vetting
from tuner.study.plan import Plan


@dataclass(frozen=True)
class Repeats(Commands):
    """Builds the commands from the current command's plan."""

    plan: Plan

    def overrides(self, row: Row) -> list[str]:
        return vetting.overrides(self.plan, row.number, row.params, row.stored)

    def train_line(self, row: Row) -> str:
        if (words := self.known(row)) is None:
            return ""
        return shlex.join(["tuner", "train", *shared([*self.plan.source.argv(), *words])])

    def tune_line(self, summary: Summary) -> str:
        if not self._is_of(summary):
            return ""
        words = shared([*self.plan.source.argv(), *self.plan.overrides])
        return shlex.join(["tuner", "tune", *words])

    def _is_of(self, summary: Summary) -> bool:
        plan, stored = self.plan, summary.attrs
        own = (plan.space.rows(), plan.study.metric, plan.seed, list(plan.pins))
        return own == tuple(stored.get(key) for key in ("space", "metric", "seed", "overrides"))
