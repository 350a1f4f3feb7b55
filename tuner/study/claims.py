"""Assign and requeue trials; each operation is one transaction under the study lock.

If a worker dies or loses its connection in the middle, or the server restarts, the transaction is
rolled back.
"""

import os
import socket
from dataclasses import dataclass
from datetime import datetime

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tuner.log import log
from tuner.storage import cached_reader, queries, writes
from tuner.storage.reason_kind import Kind
from tuner.storage.trial_counts import Tally
from tuner.storage.trial_storage import Trials
from tuner.study import attempts, next_trial
from tuner.study.attempts import CRASHES, FIRST, ORDINAL, REQUEUE, Reason
from tuner.study.budget import Budget, Times
from tuner.study.leases import Leases
from tuner.study.next_trial import Queue
from tuner.study.work_time import Clock


@dataclass(frozen=True)
class Books:
    """The records of a study while it is locked."""

    maximize: bool
    claims: "Claims"
    connection: Connection

    def times(self) -> Times:
        return self.claims.clock.read(self.connection)

    def configurations(self) -> int:
        """The number of configurations so far: trials that are not retries."""
        tally = self.claims.tally
        return tally.next_number - len(tally.noted[FIRST])

    def oldest_waiting(self) -> int | None:
        return min(self.claims.tally.waiting, default=None)

    def attempts(self) -> list[FrozenTrial]:
        """The last attempt of each configuration as committed; read it before any change."""
        return self.claims.attempts()

    def is_queued(self, key: str) -> bool:
        return key in self.claims.tally.noted[next_trial.QUEUED]


class Claims:
    """The trials of one study, and their assignment to this process's workers."""

    def __init__(self, storage: Trials, study_id: int, leases: Leases, clock: Clock) -> None:
        self.storage = storage
        self.study_id = study_id
        self.leases = leases
        self.clock = clock
        self.tally = Tally(study_id, (FIRST, next_trial.QUEUED))
        self.maximize = storage.get_study_directions(study_id)[0] == StudyDirection.MAXIMIZE

    def take(
        self, worker: str, budget: Budget, max_retries: int, queue: Queue, *, again: bool
    ) -> int | None:
        """Lease a trial to the worker, and return its id; None if there is none to run now.

        ``again`` marks a repeated call, whose first result may have been lost after the commit.
        """
        while True:
            with self.storage.locked(self.study_id) as connection:
                if again and (mine := self._running(connection, worker)) is not None:
                    return mine
                if not self._reclaim(connection, max_retries):
                    return self._give(connection, worker, budget, queue)
            # Requeued trials are committed now, so that the books have them.

    def requeue(self, trial_id: int, reason: str) -> None:
        """Release a trial that this process holds, so that another worker resumes it."""
        with self.storage.locked(self.study_id) as connection:
            self._requeue(connection, trial_id, reason)

    def adopt(self) -> None:
        """Requeue running trials that no worker holds, as in a copied study."""
        with self.storage.locked(self.study_id) as connection:
            if not self.clock.is_copied(connection):
                return
            held = {worker.trial_id for worker in self.leases.rows(connection)}
            running = queries.heads(connection, f"study_id = {self.study_id} AND state = 'RUNNING'")
            for head in running:
                if head.id not in held:
                    self._requeue(connection, head.id, "the study was copied")

    def ended(self, budget: Budget, queue: Queue) -> str | None:
        """Return why no trial runs and none may be started; None while there is work."""
        with self.storage.locked(self.study_id) as connection:
            return self._ended(connection, budget, queue)

    def seems_ended(self, budget: Budget) -> str | None:
        """Return the result of ``ended``, but without the lock, which needs write privileges."""
        with self.storage.turn, self.storage.single.connect() as connection:
            return self._ended(connection, budget, next_trial.EMPTY)

    def may_start(self, budget: Budget) -> bool:
        """Return whether a trial waits or may be created now, without the lock."""
        with self.storage.turn, self.storage.single.connect() as connection:
            return not isinstance(next_trial.next_trial(self._books(connection), budget), str)

    def may_go_on(self, budget: Budget) -> bool:
        """Return whether a running trial of unknown length may begin another epoch.

        This takes the lock, because a concurrent claim relies on the data that it has read.
        """
        with self.storage.locked(self.study_id):
            return next_trial.may_go_on(self.attempts(), budget)

    def attempts(self) -> list[FrozenTrial]:
        """Return the last attempt of each configuration."""
        return attempts.last(self.storage.get_all_trials(self.study_id, deepcopy=False))

    def _ended(self, connection: Connection, budget: Budget, queue: Queue) -> str | None:
        if queries.heads(connection, f"study_id = {self.study_id} AND state = 'RUNNING'"):
            return None
        chosen = next_trial.next_trial(self._books(connection), budget, queue)
        return chosen if isinstance(chosen, str) else None

    def _books(self, connection: Connection) -> Books:
        self.tally.refresh(connection)
        return Books(self.maximize, self, connection)

    def _running(self, connection: Connection, worker: str) -> int | None:
        """Return the trial that a worker has leased, if it runs."""
        leased = {row.id: row.trial_id for row in self.leases.rows(connection)}
        found = queries.heads(connection, f"trial_id = {leased.get(worker) or 0}")
        return next((head.id for head in found if head.state == TrialState.RUNNING), None)

    def _give(
        self, connection: Connection, worker: str, budget: Budget, queue: Queue
    ) -> int | None:
        books = self._books(connection)
        chosen = next_trial.next_trial(books, budget, queue)
        if isinstance(chosen, str):
            return None
        if isinstance(chosen, FrozenTrial):
            number = self.tally.next_number
            chosen.system_attrs = {**chosen.system_attrs, ORDINAL: books.configurations()}
            chosen.state, chosen.datetime_start = TrialState.RUNNING, datetime.now()
            trial_id = writes.create(connection, self.study_id, number, chosen)
        else:
            trial_id = chosen
            if not writes.change_state(connection, trial_id, TrialState.RUNNING):
                return None  # popped by stock Optuna
            (waited,) = cached_reader.read(connection, [trial_id])
            number = attempts.first_number(waited)
        if not self.leases.hold(worker, trial_id, number, connection):
            self.leases.enter(connection, worker, socket.gethostname(), os.getpid(), "")
            self.leases.hold(worker, trial_id, number, connection)
        return trial_id

    def _reclaim(self, connection: Connection, max_retries: int) -> bool:
        """Requeue the trials of lost workers; return whether there were any."""
        steady = self.leases.steady()
        found = False
        for worker in self.leases.rows(connection):
            if worker.alive or not (steady or worker.expired):
                continue
            if worker.trial_id is not None:
                reason = f"worker {worker.id} was lost"
                self._requeue(
                    connection, worker.trial_id, reason, worker.silent, max_crashes=max_retries
                )
                found = True
            self.leases.leave(worker.id, connection)
        return found

    def _explain(self, connection: Connection, trial_id: int, reason: Reason) -> None:
        notes = [writes.user(trial_id, key, text) for key, text in reason.to_attrs().items()]
        writes.apply(connection, notes, guarded=False)

    def _requeue(
        self,
        connection: Connection,
        trial_id: int,
        reason: str,
        ago: float = 0.0,
        max_crashes: int | None = None,
    ) -> None:
        """Requeue an attempt that ended ``ago`` seconds before now, when its worker died.

        If ``max_crashes`` is given, this counts as a crash, and the trial fails if it had more.
        """
        before = queries.heads(connection, f"trial_id = {trial_id}")
        if not before or before[0].state != TrialState.RUNNING:
            return
        if not writes.change_state(connection, trial_id, TrialState.FAIL, ago):
            return  # its worker has finished it in the meantime
        (trial,) = cached_reader.read(connection, [trial_id])  # later reports are refused
        configuration = attempts.first_number(trial)
        crashes = trial.system_attrs.get(CRASHES, 0) + (max_crashes is not None)
        if max_crashes is not None and crashes > max_crashes:
            log.warning("trial %d failed: lost %d times", configuration, crashes)
            text = f"lost {crashes} times; last: {reason}"
            self._explain(connection, trial_id, Reason(Kind.LOST, text))
            return
        try:
            following = attempts.following(trial, crashes)
        except ValueError as error:  # another program changed it while it ran
            text = f"set aside: {error}"[:500]
            self._explain(connection, trial_id, Reason(Kind.SET_ASIDE, text))
            return
        log.info("trial %d is requeued: %s", configuration, reason)
        note = writes.system(trial_id, REQUEUE, {"reason": reason, "crashes": crashes})
        writes.apply(connection, [note], guarded=False)
        number = writes.next_number(connection, self.study_id)
        writes.create(connection, self.study_id, number, following)
