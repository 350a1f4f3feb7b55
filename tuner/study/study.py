"""A study, whose trials are assigned one at a time and never exceed its budget.

A *configuration* is a trial and all its retries; ``study.n_trials`` counts configurations.
"""

import itertools
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from tuner.config.suggestions import closest_first
from tuner.errors import StorageLost, StudyError, StudyMissing
from tuner.storage import database, read_only_sqlite, studies, urls
from tuner.storage.reason_kind import Kind
from tuner.storage.retry import Patience
from tuner.storage.tables import system_attributes, trials
from tuner.storage.trial_storage import Trials
from tuner.study import next_trial
from tuner.study.attempts import FIRST, Reason
from tuner.study.budget import Budget, Spent, Times
from tuner.study.claims import Claims
from tuner.study.leases import Leases, Worker, workers
from tuner.study.next_trial import Queue
from tuner.study.work_time import Clock, Shift, clocks

SHOWN = 20
"""Maximum number of studies in a hint, the most similar names first."""
NOBODY = ""
"""Stands for the workers of a study that is stopped before any has come."""


class Study:
    """One study in a database, as seen by a worker, a supervisor or a report."""

    def __init__(self, storage: Trials, name: str, *, grace: float, patience: float) -> None:
        self.name = name
        self.storage = storage
        self.id = self.storage.get_study_id_from_name(name)
        if not self.storage.get_study_directions(self.id):
            raise damaged(f"{name!r} is damaged: it has no direction")
        self.uid = self._uid()
        """Identifies the study regardless of its name; None if tuner did not create it."""
        self.leases = Leases(storage, self.id, grace)
        self.clock = Clock(storage, self.id)
        self.claims = Claims(storage, self.id, self.leases, self.clock)
        self.patience = Patience(patience)
        self.differs: list[str] = []
        """Differences from the process that created the study; stored with trials."""

    @cached_property
    def optuna(self) -> optuna.Study:
        """The study as an Optuna study, for reading."""
        return optuna.load_study(study_name=self.name, storage=self.storage)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes that were stored when the study was created."""
        return self.storage.get_study_user_attrs(self.id)

    def verify(self) -> None:
        """Raise ``StorageLost`` unless the database still has this study, with its uid."""
        what = "was replaced by another study of the same name"
        try:
            if self._uid() == self.uid:
                return
        except KeyError:
            what = "was deleted from the database"
        raise StorageLost(
            f"study {self.name!r} {what}",
            hint="restore the database, then run the same command to resume",
        )

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Raise the error for a deleted study if it is not found in the block."""
        try:
            yield
        except KeyError:
            self.verify()
            raise

    def _uid(self) -> str | None:
        with self.storage.single.connect() as connection:
            return studies.uid(connection, self.id)

    def workers(self) -> list[Worker]:
        """Return all workers that have not left, including dead ones that are not yet noticed."""
        return self.leases.all()

    def stop(self) -> None:
        """Ask all current workers to requeue their trials and to leave."""
        ids = [worker.id for worker in self.workers()] or [NOBODY]
        self.storage.set_study_user_attr(self.id, "stopped", ids)

    def is_stopped(self, worker: str) -> bool:
        """Return whether a worker was asked to leave."""
        with self.storage.single.connect() as connection:
            return worker in studies.stopped(connection, self.id)

    def lock(self) -> AbstractContextManager[None]:
        """Exclude other processes that create the study, or sample from an exhaustible space."""
        return self.storage.dialect.lock(self.storage.engine, self.name)

    def join(self, worker: str, device: str) -> None:
        """Register this process as a worker."""
        self.patience(lambda: self.leases.join(worker, socket.gethostname(), os.getpid(), device))

    def start(self, device: str, count: int) -> Shift:
        """Start to count this process's work on ``count`` devices of one name."""
        self.patience(self.claims.adopt)
        return self.patience(lambda: self.clock.start(device, count))

    def claim(
        self, worker: str, *, budget: Budget, max_retries: int, queue: Queue = next_trial.EMPTY
    ) -> int | None:
        """Lease the next trial to a worker, and return its id; None if there is none to run now.

        Retries come first.
        """
        tries = itertools.count()
        with self._there():
            return self.patience(
                lambda: self.claims.take(worker, budget, max_retries, queue, again=next(tries) > 0)
            )

    def release(self, worker: str) -> None:
        """Return the lease of a worker that has finished its trial."""
        self.patience(lambda: self.leases.hold(worker, None, None))

    def expire(self, worker: str) -> bool:
        """Requeue the trial of a worker whose process has died; see ``Leases.expire``."""
        return self.patience(lambda: self.leases.expire(worker))

    def requeue(self, trial_id: int, reason: str) -> None:
        """Release a trial that this process holds, so that another worker resumes it."""
        with self._there():
            self.patience(lambda: self.claims.requeue(trial_id, reason))

    def set_aside(self, trial_id: int, reason: str) -> None:
        """Fail a trial that this process holds and has not started."""
        with self.storage.together():
            for key, text in Reason(Kind.SET_ASIDE, reason).to_attrs().items():
                self.storage.set_trial_user_attr(trial_id, key, text)
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def configurations(self) -> int:
        """Return the number of configurations so far: trials that are not retries."""
        retries = sa.select(system_attributes.c.trial_id).where(system_attributes.c.key == FIRST)
        return self._count(trials.c.trial_id.not_in(retries))

    def unfinished(self) -> int:
        """Return the number of running and waiting trials."""
        return self._count(trials.c.state.in_([TrialState.RUNNING, TrialState.WAITING]))

    def _count(self, which: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).where(trials.c.study_id == self.id, which)
        with self.storage.single.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def ended(self, budget: Budget, queue: Queue = next_trial.EMPTY) -> str | None:
        """Return why no trial runs and none may be started; None while there is work."""
        with self._there():
            return self.claims.ended(budget, queue)

    def seems_ended(self, budget: Budget) -> str | None:
        """Return the result of ``ended`` without a lock, which needs only read privileges."""
        with self._there():
            return self.claims.seems_ended(budget)

    def may_start(self, budget: Budget) -> bool:
        """Return whether a worker would be given a trial, for one that has not joined."""
        with self._there():
            return self.claims.may_start(budget)

    def may_go_on(self, budget: Budget) -> bool:
        """Return whether a running trial of unknown length may begin another epoch."""
        with self._there():
            return self.patience(lambda: self.claims.may_go_on(budget))

    def spent(self) -> Spent:
        """Return the amounts that the search has spent so far."""
        times, epochs = self.times(), next_trial.epochs(self.attempts())
        return Spent(self.configurations(), epochs, times.hours, times.device_hours)

    def times(self) -> Times:
        with self.storage.single.connect() as connection:
            return self.clock.read(connection)

    def attempts(self) -> list[FrozenTrial]:
        """Return the last attempt of each configuration."""
        return self.claims.attempts()


def damaged(told: str) -> StudyError:
    """Return the error for a study that cannot be resumed."""
    return StudyError(told, key="study.name", hint="choose another study.name")


def names(rdb: Trials) -> list[str]:
    """Return the names of the studies in a database."""
    return [s.study_name for s in rdb.get_all_studies()]


def name_of_final(name: str) -> str:
    """Return the name of the study of a final's trainings; users cannot use names with a slash."""
    return f"{name}/final"


def listed(name: str, known: Sequence[str]) -> str:
    """Return the studies of a database for a hint, those with similar names first."""
    likely = closest_first(name, known)
    return ", ".join([*likely[:SHOWN], *(["…"] if len(likely) > SHOWN else [])]) or "no study yet"


def load(url: str, name: str, *, grace: float, patience: float) -> Study:
    """Load an existing study for reading.

    Raises:
        StudyError: The study does not exist; the message lists the existing ones.
    """
    rdb = database.connect(url, write=False)
    try:
        study = Study(rdb, name, grace=grace, patience=patience)
    except KeyError as error:
        known = names(rdb)
        rdb.close()
        told = f"{urls.masked(url)} has no study {name!r}"
        raise StudyMissing(told, key="study.name", hint=f"it has {listed(name, known)}") from error
    create_tables(rdb)
    return study


def create_tables(rdb: Trials) -> None:
    """Create tuner's own tables if missing, under a lock, because concurrent creation fails.

    In a database that cannot be written to, they appear empty.
    """
    if not rdb.writable:
        return read_only_sqlite.attach_empty_tables(rdb.engine, (workers, clocks))
    with rdb.dialect.lock(rdb.engine, database.TABLES):
        for table in (workers, clocks):
            table.create(rdb.engine, checkfirst=True)


def clear_tables(connection: sa.Connection, study_id: int) -> None:
    """Remove the rows of a deleted study, because SQLite reuses its id."""
    for table in (workers, clocks):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
