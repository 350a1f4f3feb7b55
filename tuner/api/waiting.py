"""Wait until a study of a database has work for the configuration of this machine."""

import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import partial
from time import sleep
from typing import Any

from tuner.api import served
from tuner.config.composition import Source
from tuner.config.lookup import key_of
from tuner.errors import StorageError, StudyError, TunerError
from tuner.log import log
from tuner.storage import database, urls
from tuner.storage.retry import Patience
from tuner.storage.trial_storage import Trials
from tuner.study import create
from tuner.study.budget import Budget
from tuner.study.notices import Notices
from tuner.study.plan import Plan
from tuner.study.study import Study, create_tables
from tuner.worker.loop import check_failure_limit

PAUSE = 10.0
"""Mean number of seconds between two looks at the database."""

SPREAD = random.SystemRandom()
"""Lets workers that were started together look at different times."""


class Waiting:
    """An idle worker of a database.

    Args:
        source: The configuration of this machine.
        overrides: Its command line; a ``study.name`` in it is the only study to serve.
        asked: The plan of both, which says where the database is.
    """

    def __init__(self, source: Source, overrides: Sequence[str], asked: Plan) -> None:
        self.source, self.overrides, self.asked = source, overrides, asked
        named = any(key_of(text) == "study.name" for text in overrides)
        self.only = asked.study.name if named else None
        self.refused: dict[str | None, object] = {}
        """The limits with which a study was refused, by its unique id."""

    def until_work(self) -> tuple[Plan, Study]:
        """Return the first study that has work for this machine, and its plan.

        Raises:
            StorageError: The database cannot be used, or has been away for too long.
        """
        patience = Patience(self.asked.storage.patience)
        with _ended_by_sigterm(), closing(patience(self._opened)) as storage:
            log.info("waiting for studies in %s", urls.masked(self.asked.storage.url))
            notices = Notices(storage, self.asked.worker.grace)
            while True:
                for name in patience(notices.due):
                    found = patience(partial(self._offered, notices, name))
                    if found is not None:
                        return found
                sleep(PAUSE * SPREAD.uniform(0.5, 1.5))

    def _opened(self) -> Trials:
        storage = database.connect(self.asked.storage.url)
        create_tables(storage)
        return storage

    def _offered(self, notices: Notices, name: str) -> tuple[Plan, Study] | None:
        """Return the plan of a study and the study, None if there is nothing to do for us."""
        notices.open.discard(name)
        worker, patience = self.asked.worker, self.asked.storage.patience
        try:
            found = Study(notices.storage, name, grace=worker.grace, patience=patience)
            attrs = found.attrs
        except (KeyError, StudyError):  # deleted meanwhile, or damaged
            return None
        limits, stopped = attrs.get("budget", {}), attrs.get("stopped")
        refused = self.refused.get(found.uid) == limits or self.only not in (None, name)
        if refused or stopped or not _has_work(found, notices, limits):
            return None
        try:
            plan = served.planned(self.source, self.overrides, found)
            study = create.join_study(plan, str(found.uid))
            check_failure_limit(plan, study)
        except StorageError:
            raise
        except TunerError as error:
            log.info("study %r is left to others: %s", name, error)
            self.refused[found.uid] = limits
            return None
        return plan, study


def _has_work(study: Study, notices: Notices, limits: Mapping[str, Any]) -> bool:
    """Return whether a worker of a study with these limits would find something to do."""
    known = {field.name for field in fields(Budget)} & limits.keys()
    budget = Budget(**{name: limits[name] for name in known})
    if study.may_start(budget) or any(w.trial_id and not w.alive for w in study.workers()):
        return True
    if study.seems_ended(budget) is None:
        notices.open.add(study.name)
    return False


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End this process by SIGTERM, which the first process of a container ignores by default."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
