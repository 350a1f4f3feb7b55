"""Wait until a study of a database has work for the configuration of this machine."""

import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import partial
from time import sleep

from tuner.api import served
from tuner.config.composition import Source
from tuner.config.lookup import key_of
from tuner.errors import ConfigError, TunerError
from tuner.launch import gpus
from tuner.log import brief, log
from tuner.storage import database, urls
from tuner.storage.retry import Patience
from tuner.storage.trial_storage import Trials
from tuner.study import create, limits
from tuner.study.budget import Budget
from tuner.study.notices import Notices
from tuner.study.plan import Plan
from tuner.study.study import Study, create_tables
from tuner.worker.loop import check_failure_limit

PAUSE = 10.0
"""Mean number of seconds between two looks at the database."""

SPREAD = random.SystemRandom()
"""Lets workers that were started together look at different times."""

LINES, LETTERS = 20, 300
"""Bounds of what is told of a study that is refused: its lines, and the characters of each."""


class Waiting:
    """An idle worker of a database.

    Args:
        source: The configuration of this machine.
        overrides: Its command line; a ``study.name`` in it is the only study to serve.
        asked: The plan of both, which says where the database is.

    Raises:
        ConfigError: No study could be served: this machine lacks the device, or several are named.
    """

    def __init__(self, source: Source, overrides: Sequence[str], asked: Plan) -> None:
        self.source, self.overrides, self.asked = source, overrides, asked
        gpus.require(asked.worker.device)
        if any(parameter.key == "study.name" for parameter in asked.space.parameters()):
            told = "a worker waits for one study or, without a name, for all"
            raise ConfigError(told, key="study.name", hint="give one name")
        named = any(key_of(text) == "study.name" for text in overrides)
        self.only = asked.study.name if named else None
        self.refused: dict[str, set[str]] = {}
        """What ``Notices.marks`` had of a study when it was refused."""

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
                due = [name for name in patience(notices.due) if self.only in (None, name)]
                for name in SPREAD.sample(due, len(due)):  # one that ends at once is not the first
                    if found := self._looked_at(notices, name, patience):
                        return found
                if due:
                    storage.close()  # a look needs one connection, reading a study two
                sleep(PAUSE * SPREAD.uniform(0.5, 1.5))

    def _opened(self) -> Trials:
        storage = database.connect(self.asked.storage.url)
        create_tables(storage)
        return storage

    def _looked_at(
        self, notices: Notices, name: str, patience: Patience
    ) -> tuple[Plan, Study] | None:
        """Return a study and its plan, None if there is nothing to do for us.

        Anybody may have written its rows: whatever they do, there are other studies.
        """
        marks = notices.marks[name]
        if self.refused.get(name) == marks:
            return None
        try:
            return patience(partial(self._offered, notices, name))
        except Exception as error:
            if patience(partial(_has, notices.storage, name)):  # and the database answers
                unknown = not isinstance(error, TunerError)
                log.info("study %r is left to others: %s", name, _told(error), exc_info=unknown)
                self.refused[name] = marks
            return None

    def _offered(self, notices: Notices, name: str) -> tuple[Plan, Study] | None:
        notices.open.discard(name)
        worker, patience = self.asked.worker, self.asked.storage.patience
        found = Study(notices.storage, name, grace=worker.grace, patience=patience)
        attrs = found.attrs
        if "budget" not in attrs or attrs.get("stopped"):
            return None
        known = {field.name for field in fields(Budget)} & attrs["budget"].keys()
        budget = Budget(**{name: attrs["budget"][name] for name in known})
        if not _has_work(found, notices, budget):
            return None
        planned = served.planned(self.source, self.overrides, found)
        study = create.join_study(planned, str(found.uid))
        try:
            check_failure_limit(planned, study)
            if _has_work(study, notices, limits.budget(planned)):  # still, and in its plan as well
                return planned, study
        except BaseException:
            study.storage.close()
            raise
        study.storage.close()
        return None


def _has(storage: Trials, name: str) -> bool:
    """Return whether a database has a study of this name."""
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True


def _told(error: Exception) -> str:
    """Return the message of an error, which may hold what others have written, cut to a page."""
    lines = str(error).splitlines()
    more = [f"and {len(lines) - LINES} more lines"] * (len(lines) > LINES)
    return "\n  ".join([brief(line, LETTERS) for line in lines[:LINES]] + more)


def _has_work(study: Study, notices: Notices, budget: Budget) -> bool:
    """Return whether a worker of a study with these limits would find something to do."""
    if study.may_start(budget):
        return True
    if study.seems_ended(budget) is not None:
        return False
    notices.open.add(study.name)
    return any(worker.trial_id and not worker.alive for worker in study.workers())


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End this process by SIGTERM, which the first process of a container ignores by default."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
