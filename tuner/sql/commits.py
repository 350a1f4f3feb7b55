"""One commit for whatever the threads of a process write at the same time."""

import threading
from collections.abc import Sequence

from sqlalchemy import Engine

from tuner.sql.outages import is_outage
from tuner.sql.writes import Write, apply, refuse


class _Waiting:
    """Writes of one thread, and what became of them."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.woken = threading.Semaphore(0)
        self.leads = False
        self.error: BaseException | None = None


class Commits:
    """Commits what the threads of this process write, together where it comes together.

    A thread that finds nobody committing commits at once, alone.  Those that come meanwhile wait,
    and the first of them then commits for all: the more there are, the more share a commit.
    """

    def __init__(self, engine: Engine, single: Engine) -> None:
        self.engine = engine
        self.single = single
        """The same without transactions: a lone statement needs none, and saves two messages."""
        self.guard = threading.Lock()
        self.queue: list[_Waiting] = []
        self.busy = False

    def __call__(self, writes: Sequence[Write]) -> None:
        """Return once the writes are committed.

        Raises ``KeyError`` or ``UpdateFinishedTrialError`` if a trial is missing or has ended, and
        then none of them is made; otherwise what SQLAlchemy raises.
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
        """Commit what is queued, then hand over to the first of those who have come since."""
        with self.guard:
            batch, self.queue = self.queue, []
        try:
            self._commit(batch)
        except BaseException as error:  # an interrupt: nobody knows what is stored
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
        for waiting in batch:  # one of them cannot be stored, and the others must not suffer
            try:
                if not self._store(waiting.writes):
                    with self.single.connect() as connection:
                        refuse(connection, {w.row["trial_id"] for w in waiting.writes})
                    raise RuntimeError("a write was refused, but its trial can be written to")
            except Exception as error:
                waiting.error = error

    def _store(self, writes: Sequence[Write]) -> bool:
        """Whether all is stored; if not, nothing is."""
        if len(writes) == 1:
            with self.single.connect() as connection:
                return apply(connection, writes)
        with self.engine.connect() as connection:
            stored = apply(connection, writes)
            if stored:
                connection.commit()
        return stored
