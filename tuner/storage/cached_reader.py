"""Read a study repeatedly, as samplers and pruners do; each read transfers only what is new.

Finished trials are read once. Of unfinished trials, only changed states and new reports are read,
so that 256 running trials do not cost 256 curves at each report.
"""

import bisect
import copy
import itertools
import threading
import time
from collections.abc import Callable, Collection, Container
from contextlib import nullcontext
from functools import partial
from operator import attrgetter

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine

from tuner.config.uncollected import uncollected
from tuner.storage import attributes, queries
from tuner.storage.queries import Facts, Head, Question
from tuner.storage.writes import UNFINISHED

AT_ONCE = 5000
"""Number of trials per statement when a study is read; SQLite accepts a million characters."""

MANY = 500
"""Number of trials from which garbage collection is paused, which saves a quarter of the time."""

ATTRIBUTES_EVERY = 1.0
"""Seconds between two reads of the user attributes of trials that run in other processes."""


class StudyCache:
    """The cached trials of one study.

    Callers get the cached objects, so these are never changed: an update creates a new object.
    Trials of a study are created under a lock (tuner's and Optuna's), so a higher id means a later
    trial. Only one worker at a time reports to a trial, so a higher step means a later report. A
    trial whose steps decrease is read completely once it has ended.
    """

    def __init__(self, study_id: int, replaced: Callable[[], object] = lambda: None) -> None:
        self.study_id = study_id
        self.replaced = replaced
        """Callback for the case that the study is not the one that was read before."""
        self.lock = threading.Lock()
        self.looks = 0
        self.covered: frozenset[TrialState] = frozenset()
        self._begin()

    def _begin(self) -> None:
        self.latest: Head | None = None
        """The latest trial. It is missing only if the study was deleted, or if a standby took over
        without its last commits; SQLite then reuses ids.
        """
        self.open: dict[int, Head] = {}
        self.stale: set[int] = set()
        """Ids of trials whose own row has changed since their facts were read."""
        self.trials: dict[int, FrozenTrial] = {}
        self.over: dict[TrialState, list[FrozenTrial]] = {s: [] for s in TrialState}
        """Finished trials by state, in order of their numbers."""
        self.looked = -ATTRIBUTES_EVERY

    def select(self, states: Container[TrialState]) -> list[FrozenTrial]:
        """Return the trials in the given states, in order of their numbers."""
        parts = [found for state, found in self.over.items() if state in states]
        known = [self.trials[i] for i in self.open if i in self.trials]
        parts.append([t for t in known if t.state in states])
        # Sorting is fast, because the parts are already sorted.
        return sorted(itertools.chain.from_iterable(parts), key=attrgetter("_number"))

    def refresh(self, connection: Connection, states: Container[TrialState]) -> None:
        """Read the changes of trials in the given states."""
        for head in self._news(connection):
            self.open[head.id] = head
            self.stale.add(head.id)
            self.trials.pop(head.id, None)
            if self.latest is None or head.id >= self.latest.id:
                self.latest = head
        due = sorted(i for i in self.stale if self.open[i].state in states)
        with uncollected() if len(due) > MANY else nullcontext():
            for start in range(0, len(due), AT_ONCE):
                self._load(connection, due[start : start + AT_ONCE])
        if TrialState.RUNNING in states:
            self._follow(connection, set(due))

    def _news(self, connection: Connection) -> list[Head]:
        """Return new trials and those whose state has changed; all if the study was replaced."""
        found = queries.heads(connection, self._changed())
        if (latest := self.latest) is None:
            return found
        again = next((head for head in found if head.id == latest.id), None)
        if again is None or not again.continues(latest):
            queries.require_study(connection, self.study_id)
            self._begin()
            self.replaced()
            return queries.heads(connection, self._changed())
        known = self.open.get(latest.id)
        if known is None or known.state == again.state:
            found.remove(again)
        return found

    def _changed(self) -> str:
        """Return the SQL condition for new trials, trials with a changed state, and the latest."""
        cases = [f"trial_id >= {self.latest.id if self.latest else 0}"]
        for state in UNFINISHED:
            if ids := [i for i, head in self.open.items() if head.state == state]:
                cases.append(f"trial_id IN ({queries.listed(ids)}) AND state <> '{state.name}'")
        return f"study_id = {self.study_id} AND ({' OR '.join(cases)})"

    def _load(self, connection: Connection, due: Collection[int]) -> None:
        found = queries.facts(connection, queries.everything(due))
        for i in due:
            head = self.open[i]
            self.trials[i] = queries.trial(head, found.get(i) or Facts())
            self.stale.discard(i)
            if head.state.is_finished():
                del self.open[i]
                _put(self.over[head.state], self.trials[i])

    def _follow(self, connection: Connection, fresh: Collection[int]) -> None:
        """Read new reports, parameters and attributes of running trials."""
        running = [
            i for i, h in self.open.items() if h.state == TrialState.RUNNING and i not in fresh
        ]
        if not running:
            return
        now = time.monotonic()
        look = now > self.looked + ATTRIBUTES_EVERY
        self.looked = now if look else self.looked
        drawing = running if look else [i for i in running if not self.trials[i].params]
        news = {i: max(self.trials[i].intermediate_values, default=-1) for i in running}
        question = Question(params=drawing, user=drawing, system=running, news=news)
        found = queries.facts(connection, question)
        for i in running:
            self._learn(i, found.get(i) or Facts(), drawn=i in drawing)

    def _learn(self, trial_id: int, news: Facts, *, drawn: bool) -> None:
        old = self.trials[trial_id]
        user, system = attributes.of_trial(old.number, news.user, news.system)
        if not (drawn or news.curve) and system == old.system_attrs:
            return
        new = copy.copy(old)
        new.system_attrs = system
        if news.curve:
            new.intermediate_values = {**old.intermediate_values, **news.curve}
        if drawn:
            new.params, new.distributions = queries.parameters(old.number, news)
            new.user_attrs = user
        if new != old:
            self.trials[trial_id] = new


class Reader:
    """A thread-safe cache of all studies of a database; concurrent threads share one read."""

    def __init__(self, engine: Engine, replaced: Callable[[int], object]) -> None:
        self.engine = engine
        self.replaced = replaced
        self.studies: dict[int, StudyCache] = {}
        self.guard = threading.Lock()

    def trials(
        self, study_id: int, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study in the given states, all by default.

        Raises:
            KeyError: There is no such study.
        """
        known = self._known(study_id)
        wanted = frozenset(s for s in TrialState if states is None or s in states)
        arrived = known.looks
        with known.lock:
            # A read that started before this call may miss data that this thread has just written.
            if known.looks == arrived or not wanted <= known.covered:
                known.looks += 1
                known.covered = frozenset()
                with self.engine.connect() as connection:
                    known.refresh(connection, wanted)
                known.covered = wanted
            return known.select(wanted)

    def trial(self, trial_id: int) -> FrozenTrial:
        """Return the current state of one trial.

        Raises:
            KeyError: There is no such trial.
        """
        for known in tuple(self.studies.values()):
            found = known.trials.get(trial_id)
            if found is not None and found.state.is_finished():
                return found
        with self.engine.connect() as connection:
            (found,) = read(connection, [trial_id])
        return found

    def forget(self, study_id: int) -> None:
        with self.guard:
            self.studies.pop(study_id, None)

    def _known(self, study_id: int) -> StudyCache:
        with self.guard:
            if study_id not in self.studies:
                with self.engine.connect() as connection:
                    queries.require_study(connection, study_id)
                self.studies[study_id] = StudyCache(study_id, partial(self.replaced, study_id))
            return self.studies[study_id]


def _put(ordered: list[FrozenTrial], trial: FrozenTrial) -> None:
    """Insert a trial into a list ordered by number; most often it belongs at the end."""
    if not ordered or ordered[-1]._number < trial._number:
        ordered.append(trial)
    else:
        bisect.insort(ordered, trial, key=attrgetter("_number"))


def read(connection: Connection, ids: Collection[int]) -> list[FrozenTrial]:
    """Return the current state of trials, without using the cache.

    Raises:
        KeyError: One of the trials does not exist.
    """
    found = queries.heads(connection, f"trial_id IN ({queries.listed(ids)})")
    if len(found) < len(ids):
        raise KeyError(f"no trial has one of the ids {sorted(ids)}")
    known = queries.facts(connection, queries.everything(ids))
    return [queries.trial(head, known.get(head.id) or Facts()) for head in found]
