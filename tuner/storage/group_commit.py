"""Group the writes that the threads of a process make at the same time into one commit."""

import threading
from collections.abc import Sequence

from sqlalchemy import Engine

from tuner.storage.outages import is_outage
from tuner.storage.writes import Write, apply, refuse


class _Waiting:
    """The writes of one thread, and their outcome."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.woken = threading.Semaphore(0)
        self.leads = False
        self.error: BaseException | None = None


class Commits:
    """Commits the writes of this process, grouping those of concurrent threads.

    A thread commits immediately and alone if no other thread is committing. Threads that arrive in
    the meantime wait, and the first of them then commits for all of them: the more threads, the
    more writes share a commit.
    """

    def __init__(self, engine: Engine, single: Engine) -> None:
        self.engine = engine
        self.single = single
        """The engine in autocommit mode, in which a single statement saves two messages."""
        self.guard = threading.Lock()
        self.queue: list[_Waiting] = []
        self.busy = False

    def __call__(self, writes: Sequence[Write]) -> None:
        """Commit the writes; return once they are stored.

        Raises:
            KeyError: A trial does not exist; none of the writes is stored.
            UpdateFinishedTrialError: A trial has ended; none of the writes is stored.
            SQLAlchemyError: The database failed.
        """
        mine = _Waiting(writes)
        with self.guard:
            self.queue.append(mine)
            if not self.busy:
                self.busy = mine.leads = True
        if not mine.leads:
            mine.woken.acquire()
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error

    def _lead(self) -> None:
        """Commit the queued writes, then hand over to the first thread that has arrived since."""
        with self.guard:
            batch, self.queue = self.queue, []
        try:
            self._commit(batch)
        except BaseException as error:  # an interrupt: what is stored is unknown
            for waiting in batch:
                waiting.error = error
        with self.guard:
            heir = self.queue[0] if self.queue else None
            self.busy = heir is not None
        if heir is not None:
            heir.leads = True
            heir.woken.release()
        for waiting in batch:
            waiting.woken.release()

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            if self._store([write for waiting in batch for write in waiting.writes]):
                return
        except Exception as error:
            if len(batch) == 1 or is_outage(error):
                for waiting in batch:
                    waiting.error = error
                return
        for waiting in batch:  # one cannot be stored; store the others
            try:
                if not self._store(waiting.writes):
                    with self.single.connect() as connection:
                        refuse(connection, {w.row["trial_id"] for w in waiting.writes})
                    raise RuntimeError("a write was refused, but its trial can be written to")
            except Exception as error:
                waiting.error = error

    def _store(self, writes: Sequence[Write]) -> bool:
        """Store all writes or none; return whether they were stored."""
        if len(writes) == 1:
            with self.single.connect() as connection:
                return apply(connection, writes)
        with self.engine.connect() as connection:
            stored = apply(connection, writes)
            if stored:
                connection.commit()
        return stored
