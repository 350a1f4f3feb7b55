"""The study: created or resumed, given out one trial at a time, exactly up to its budget.

A *configuration* is a trial and all its retries; ``study.n_trials`` counts configurations.  A
retry carries Optuna's own attributes ``failed_trial`` (number of the first attempt) and
``retry_history``, so that stock Optuna and the dashboard read the study.
"""

import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import optuna
import sqlalchemy as sa
from omegaconf import DictConfig
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tuner import admission, search, storage
from tuner.budget import Budget, Spent, Times
from tuner.clock import Clock, clocks
from tuner.errors import StudyError
from tuner.leases import Leases, Worker, workers
from tuner.log import log
from tuner.queue import Item
from tuner.space import Space
from tuner.sql.patience import Patience
from tuner.sql.trials import Trials
from tuner.typos import closest_first

FIRST = "failed_trial"
HISTORY = "retry_history"
REQUEUE = "tuner:requeue"
"""System attribute of an attempt that is to go on elsewhere: why it stopped."""
CRASHES = "tuner:crashes"
"""System attribute of a retry: how many earlier attempts were lost, preemptions not counted."""
ORDINAL = "tuner:configuration"
"""System attribute: how many configurations there were before this one, whatever was retried."""
RUNG = "completed_rung_"
"""Prefix of what Optuna's successive halving notes as it judges a trial."""

SHOWN = 20
"""Names of studies that a hint lists, the likeliest first."""

trials = sa.table(
    "trials",
    *(sa.column(name) for name in ("trial_id", "study_id", "number", "state")),
)
attributes = sa.table(
    "trial_system_attributes",
    *(sa.column(name) for name in ("trial_id", "key", "value_json")),
)


class Study:
    """One study in a database, as seen by a worker, a supervisor or a report."""

    def __init__(self, storage: Trials, name: str, *, grace: float, patience: float) -> None:
        self.name = name
        self.rdb = storage.rdb
        self.storage = storage
        self.id = self.storage.get_study_id_from_name(name)
        self.leases = Leases(storage.engine, self.id, grace)
        self.clock = Clock(storage.engine, self.id)
        self.patience = Patience(patience)
        self.pruner: BasePruner | None = None
        """One for all trials of this process: it remembers what it has read of the study."""
        self.queued: set[str] = set()
        """Keys of the queue's items that are known to have become trials."""
        self.differs: list[str] = []
        """In what this process differs from the one that created the study; kept with trials."""

    @cached_property
    def optuna(self) -> optuna.Study:
        """The study as Optuna knows it, for reading."""
        return optuna.load_study(study_name=self.name, storage=self.storage)

    @property
    def maximize(self) -> bool:
        return self.optuna.directions[0] == StudyDirection.MAXIMIZE

    @property
    def attrs(self) -> dict[str, Any]:
        """What was stored with the study when it was created."""
        return self.storage.get_study_user_attrs(self.id)

    def workers(self) -> list[Worker]:
        """All workers that have not left, dead ones included until they are missed."""
        return self.leases.all()

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Exclusion among the workers of this study; what is yielded raises once it is lost."""
        with storage.lock(self.rdb.engine, self.name) as held:
            yield held

    def join(self, worker: str, device: str) -> None:
        """Enter this process as a worker."""
        self.patience(lambda: self.leases.join(worker, socket.gethostname(), os.getpid(), device))

    def claim(
        self, worker: str, *, budget: Budget, max_retries: int, queue: Sequence[Item] = ()
    ) -> int | None:
        """The id of the next trial for a worker, leased and RUNNING; None if there is none now.

        Retries go first.  A crash at any point leaves either a WAITING trial, which the next
        claim takes, or a leased one, which is requeued when the lease runs out.
        """

        tries = itertools.count()

        def attempt() -> int | None:
            again = next(tries) > 0
            with self.lock() as held:
                if again and (mine := self._running(worker)) is not None:
                    return mine  # the connection was lost just after it had become ours
                self._reclaim(max_retries, held)
                chosen = admission.next_trial(self, budget, queue)
                if isinstance(chosen, str):
                    return None
                if isinstance(chosen, FrozenTrial):
                    chosen.system_attrs = {**chosen.system_attrs, ORDINAL: self.configurations()}
                    held()
                    trial_id = self.storage.create_new_trial(self.id, template_trial=chosen)
                else:
                    trial_id = chosen
                number = self.storage.get_trial_number_from_id(trial_id)
                if not self.leases.hold(worker, trial_id, number):
                    self.join(worker, "")
                    self.leases.hold(worker, trial_id, number)
                if self.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                    return trial_id
                self.leases.hold(worker, None, None)  # somebody popped it by Optuna's own means
                return None

        return self.patience(attempt)

    def trial(self, trial_id: int, cfg: DictConfig, space: Space, seed: int) -> Trial:
        """The claimed trial with its sampler and pruner, its joint parameters already drawn."""
        number = ordinal(self.storage.get_trial(trial_id))
        sampler = search.sampler(cfg, space, search.seed_of(seed, "sampler", number))
        self.pruner = self.pruner or search.pruner(cfg)
        study = search.Traded(self.name, self.storage, sampler, self.pruner)
        return Trial(study, trial_id)

    def release(self, worker: str) -> None:
        """A worker has finished its trial."""
        self.patience(lambda: self.leases.hold(worker, None, None))

    def expire(self, worker: str) -> bool:
        """A worker's process has died: what it holds is requeued now.  See ``Leases.expire``."""
        return self.patience(lambda: self.leases.expire(worker))

    def requeue(self, trial_id: int, reason: str) -> None:
        """Give up a trial that this process holds; another worker goes on with it."""

        def attempt() -> None:
            with self.lock() as held:
                self._requeue(trial_id, reason, held)

        self.patience(attempt)

    def configurations(self) -> int:
        """Configurations ever given out: trials that are not retries."""
        mine = sa.select(trials.c.trial_id).where(trials.c.study_id == self.id)
        retries = sa.select(attributes.c.trial_id).where(attributes.c.key == FIRST)
        query = sa.select(sa.func.count()).select_from(
            mine.where(trials.c.trial_id.not_in(retries)).subquery()
        )
        with self.rdb.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def unfinished(self) -> int:
        """Trials that run or wait."""
        return self._count("RUNNING", "WAITING")

    def _count(self, *states: str) -> int:
        query = sa.select(sa.func.count()).where(trials.c.study_id == self.id, _state().in_(states))
        with self.rdb.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def ended(self, budget: Budget) -> str | None:
        """Why nothing runs and nothing may be started; None while there is work."""
        with self.lock():
            if self._count("RUNNING") or self._cut_short():
                return None
            chosen = admission.next_trial(self, budget)
        return chosen if isinstance(chosen, str) else None

    def may_go_on(self, budget: Budget) -> bool:
        """Whether a running trial of unknown length may begin another epoch."""

        def attempt() -> bool:
            with self.lock():
                return admission.may_go_on(self.attempts(), budget)

        return self.patience(attempt)

    def spent(self) -> Spent:
        """What the search has cost so far."""
        times, epochs = self.times(), admission.epochs(self.attempts())
        return Spent(self.configurations(), epochs, times.hours, times.device_hours)

    def times(self) -> Times:
        return self.clock.read()

    def attempts(self) -> list[FrozenTrial]:
        """The last attempt of each configuration."""
        found = self.storage.get_all_trials(self.id, deepcopy=False)
        return [t for t in found if not (t.state == TrialState.FAIL and REQUEUE in t.system_attrs)]

    def is_queued(self, key: str) -> bool:
        """Whether the item of the queue with this key has become a trial."""
        if key not in self.queued:
            found = self.storage.get_all_trials(self.id, deepcopy=False)
            self.queued = {t.system_attrs.get(admission.QUEUED, "") for t in found}
        return key in self.queued

    def oldest_waiting(self) -> int | None:
        query = sa.select(sa.func.min(trials.c.trial_id)).where(
            trials.c.study_id == self.id, _state() == "WAITING"
        )
        with self.rdb.engine.connect() as connection:
            found = connection.execute(query).scalar_one()
        return None if found is None else int(found)

    def _running(self, worker: str) -> int | None:
        """The trial that a worker has leased, if it runs."""
        for row in self.leases.all():
            if row.id == worker and row.trial_id is not None:
                running = self.storage.get_trial(row.trial_id).state == TrialState.RUNNING
                return row.trial_id if running else None
        return None

    def _reclaim(self, max_retries: int, held: Callable[[], None]) -> None:
        """Requeue what lost workers held, and finish requeues that were cut short."""
        steady = self.leases.steady()
        for worker in self.leases.all():
            if worker.alive or not (steady or worker.expired):
                continue
            if worker.trial_id is not None:
                reason = f"worker {worker.id} was lost"
                self._requeue(worker.trial_id, reason, held, max_crashes=max_retries)
            self.leases.leave(worker.id)
        for trial in self._cut_short():
            self._revive(trial, held)

    def _requeue(
        self, trial_id: int, reason: str, held: Callable[[], None], max_crashes: int | None = None
    ) -> None:
        """With ``max_crashes`` it counts as one, and the trial is given up when there are more."""
        trial = self.storage.get_trial(trial_id)
        if trial.state != TrialState.RUNNING:
            return
        crashes = trial.system_attrs.get(CRASHES, 0) + (max_crashes is not None)
        if max_crashes is not None and crashes > max_crashes:
            log.warning("trial %d is given up: lost %d times", trial.number, crashes)
            self._fail(trial_id, "reason", f"lost {crashes} times; last: {reason}", user=True)
            return
        log.info("trial %d is requeued: %s", trial.number, reason)
        if self._fail(trial_id, REQUEUE, {"reason": reason, "crashes": crashes}):
            self._revive(self.storage.get_trial(trial_id), held)

    def _fail(self, trial_id: int, key: str, value: Any, *, user: bool = False) -> bool:
        """Mark, then FAIL; False if its worker finished it in the meantime."""
        try:
            mark = self.storage.set_trial_user_attr if user else self.storage.set_trial_system_attr
            mark(trial_id, key, value)
            return self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _revive(self, trial: FrozenTrial, held: Callable[[], None]) -> None:
        """The next attempt: same parameters, the curve so far, and what the pruner noted.

        What it noted at the last epoch is left out: the worker may have died between the note and
        the decision, so that the epoch is judged once more.  A note is the value that was judged;
        where an earlier epoch had the same value, judging it again makes the same note.
        """
        last = trial.intermediate_values.get(trial.last_step or 0)
        inherited = {
            k: v
            for k, v in trial.system_attrs.items()
            if k != REQUEUE and not (k.startswith(RUNG) and v == last)
        }
        attrs = {
            **inherited,
            FIRST: inherited.get(FIRST, trial.number),
            HISTORY: [*inherited.get(HISTORY, []), trial.number],
            CRASHES: trial.system_attrs[REQUEUE]["crashes"],
        }
        waiting = create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=attrs,
            intermediate_values=trial.intermediate_values,
        )
        held()
        self.storage.create_new_trial(self.id, template_trial=waiting)

    def _cut_short(self) -> list[FrozenTrial]:
        """Attempts marked for another one that does not exist: their requeuer died half-way."""
        query = (
            sa.select(trials.c.trial_id, trials.c.number, attributes.c.key, attributes.c.value_json)
            .join(attributes, attributes.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.id, attributes.c.key.in_([REQUEUE, HISTORY]))
            .where(sa.or_(attributes.c.key == HISTORY, _state() == "FAIL"))
        )
        with self.rdb.engine.connect() as connection:
            rows = connection.execute(query).all()
        continued = {json.loads(value)[-1] for _, _, key, value in rows if key == HISTORY}
        return [
            self.storage.get_trial(trial_id)
            for trial_id, number, key, _ in rows
            if key == REQUEUE and number not in continued
        ]


def _state() -> sa.ColumnElement[str]:
    """The state as text: PostgreSQL has an enumeration of its own for it."""
    return sa.cast(trials.c.state, sa.String(16))


def first_number(trial: FrozenTrial) -> int:
    """The number of the configuration that a trial is an attempt at."""
    return int(trial.system_attrs.get(FIRST, trial.number))


def ordinal(trial: FrozenTrial) -> int:
    """The place of a configuration among all; seeds depend on it, and so not on retries."""
    return int(trial.system_attrs.get(ORDINAL, first_number(trial)))


def names(rdb: Trials) -> list[str]:
    """The studies of a database."""
    return [s.study_name for s in rdb.get_all_studies()]


def load(url: str, name: str, *, grace: float, patience: float) -> Study:
    """An existing study; ``StudyError`` lists those that exist."""
    rdb = storage.connect(url, create=False)
    try:
        study = Study(rdb, name, grace=grace, patience=patience)
    except KeyError as error:
        known = closest_first(name, names(rdb))
        listed = ", ".join([*known[:SHOWN], *(["…"] if len(known) > SHOWN else [])]) or "none yet"
        raise StudyError(
            f"study.name: {storage.masked(url)} has no study {name!r}; hint: it has {listed}"
        ) from error
    create_tables(rdb)
    return study


def create_tables(rdb: Trials) -> None:
    """Make our own tables if they are missing, under a lock: two at once would collide."""
    with storage.lock(rdb.engine, storage.TABLES):
        for table in (workers, clocks):
            table.create(rdb.engine, checkfirst=True)
