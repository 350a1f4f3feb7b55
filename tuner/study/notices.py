"""Notice by one statement that studies of a database may have work for an idle worker."""

import time
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from tuner.storage.tables import studies, study_attributes, trials
from tuner.storage.trial_storage import Trials
from tuner.study.leases import workers

AGAIN = 300.0
"""Seconds after which an unfinished study is due although nothing was noticed.

A requeued trial that was committed after one with a higher id is found then.
"""


class Notices:
    """What has changed in a database since the last look: studies, limits, queued and lost trials.

    Args:
        storage: The database.
        grace: Seconds without a heartbeat after which a worker is lost.
    """

    def __init__(self, storage: Trials, grace: float) -> None:
        self.storage, self.grace = storage, grace
        self.marks: dict[str, set[str]] = {}
        """Study → its unique id, its limits, and the workers that were asked to leave it."""
        self.last = 0
        """The highest id of a trial."""
        self.open: set[str] = set()
        """Studies that may get work without any notice."""
        self.since = time.monotonic()

    def due(self) -> list[str]:
        """Return the names of the studies to look at."""
        marks: dict[str, set[str]] = defaultdict(set)
        called: set[str] = set()
        with self.storage.single.connect() as connection:
            for kind, name, mark in connection.execute(self._query()):
                if kind == "last":
                    self.last = int(mark or 0)
                elif kind == "attribute":
                    marks[name].add(mark)
                else:
                    called.add(name)
        called |= {name for name in marks if marks[name] != self.marks.get(name)}
        self.marks = dict(marks)
        if time.monotonic() - self.since > AGAIN:
            self.since = time.monotonic()
            called |= self.open
        return sorted(called & marks.keys())

    def _query(self) -> sa.CompoundSelect[Any]:
        """Return a statement whose cost does not grow with the number of trials."""
        a, named = study_attributes.c, sa.literal("").label("name")
        lost = workers.c.beat < self.storage.dialect.now - self.grace
        return sa.union_all(
            sa.select(sa.literal("attribute"), studies.c.study_name, a.value_json)
            .join(study_attributes, a.study_id == studies.c.study_id)
            .where(a.key.in_(["uid", "budget", "stopped"])),
            sa.select(sa.literal("waiting"), studies.c.study_name, sa.literal(""))
            .join(trials, trials.c.study_id == studies.c.study_id)
            .where(trials.c.trial_id > self.last, trials.c.state == TrialState.WAITING),
            sa.select(sa.literal("lost"), studies.c.study_name, sa.literal(""))
            .join(workers, workers.c.study_id == studies.c.study_id)
            .join(trials, trials.c.trial_id == workers.c.trial_id)
            .where(trials.c.state == TrialState.RUNNING, lost),
            sa.select(
                sa.literal("last"), named, sa.cast(sa.func.max(trials.c.trial_id), sa.String(20))
            ),
        )
