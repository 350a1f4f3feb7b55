"""Implement Optuna's storage interface on Optuna's own tables, for many workers and long studies.

Stock Optuna and its dashboard read and write the same study. The difference is the cost: a study is
read once and then only what is new (``cached_reader``), and concurrent writes are stored together
(``group_commit``). The creation and the writing of studies and tables are left to Optuna.
"""

import copy
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine

from tuner.storage import attributes, dialects, queries, schema, studies, tables, writes
from tuner.storage.cached_reader import Reader
from tuner.storage.distributions import Distributions
from tuner.storage.group_commit import Commits
from tuner.storage.queries import Question
from tuner.storage.writes import Write

Repeat = Callable[[Callable[[], None]], None]
"""Calls a function, and retries it as needed."""


class Trials(BaseStorage):
    """A thread-safe Optuna storage of all studies of a database."""

    def __init__(
        self,
        engine: Engine,
        options: schema.Options,
        reopen: Callable[[str], "Trials"],
        *,
        writable: bool = True,
    ) -> None:
        self.engine = engine
        self.dialect = dialects.of(engine)
        self.single = self.dialect.autocommit(engine)
        """The engine in autocommit mode, for single statements."""
        self.options = options
        self.writable = writable
        self.reopen = reopen
        self.distributions = Distributions(self.single)
        self.reader = Reader(self.single, self.distributions.forget)
        self.commits = Commits(engine, self.single)
        self.turn = threading.Lock()
        self.exclusive = engine.execution_options(**self.dialect.exclusive)
        self.local = threading.local()

    def __reduce__(self) -> tuple[Callable[[str], "Trials"], tuple[str]]:
        return self.reopen, (self.engine.url.render_as_string(hide_password=False),)

    @cached_property
    def rdb(self) -> RDBStorage:
        """Optuna's own storage on the same engine."""
        return schema.optuna_storage(self.engine, self.options)

    def close(self) -> None:
        """Close the idle connections and those of this thread."""
        self.remove_session()
        self.engine.dispose()

    @contextmanager
    def together(self, patience: Repeat | None = None) -> Iterator[None]:
        """Store what this thread writes to trials in the block with one commit at its end.

        A change of a trial's state is stored at once, in one transaction with all earlier writes to
        that trial. If the block raises, writes that are not yet stored are dropped.

        Args:
            patience: Makes the final commit, and may retry it.
        """
        if self._held is not None:
            yield
            return
        self.local.held = []
        try:
            yield
            if patience is None:
                self._flush()
            else:
                patience(self._flush)
        finally:
            self.local.held = None

    @contextmanager
    def locked(self, study_id: int) -> Iterator[Connection]:
        """Lock a study and yield a transaction that may create trials or take them over.

        The lock is the study's row, as in Optuna's own ``ask``. It belongs to the connection, so a
        process that dies or is cut off holds no lock, and its transaction is rolled back. On SQLite
        every transaction excludes all others. The threads of a process wait here, without a
        connection each.

        Raises:
            KeyError: There is no such study.
        """
        row = sa.select(tables.studies.c.study_id).where(tables.studies.c.study_id == study_id)
        with self.turn, self.exclusive.begin() as connection:
            # With KEY SHARE (PostgreSQL), other transactions may still refer to the study.
            if connection.execute(row.with_for_update(key_share=True)).first() is None:
                raise KeyError(f"no study has the id {study_id}")
            yield connection

    # Trials: reading

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        found = self.reader.trials(study_id, states)
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        found = self.reader.trial(trial_id)
        mine = [w for w in self._held or () if w.row["trial_id"] == trial_id]
        return writes.onto(found, mine) if mine else found

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        self._flush()
        with self.single.connect() as connection:
            found = queries.facts(connection, Question(system=[trial_id]))
        if trial_id in found:
            return attributes.of_trial(f"of id {trial_id}", {}, found[trial_id].system)[1]
        return self.get_trial(trial_id).system_attrs

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.rdb.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    # Trials: writing

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self.locked(study_id) as connection:
            number = writes.next_number(connection, study_id)
            return writes.create(connection, study_id, number, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        self.distributions.check(trial_id, param_name, distribution)
        self._write(writes.param(trial_id, param_name, param_value_internal, distribution))

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        self._write(writes.report(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(writes.user(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(writes.system(trial_id, key, value))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        held = self._held or []
        new = [writes.value(trial_id, k, number) for k, number in enumerate(values or ())]
        with self.engine.begin() as connection:
            if not writes.change_state(connection, trial_id, state):
                writes.refuse(connection, [trial_id])
                return False
            mine = [w for w in held if w.row["trial_id"] == trial_id]
            writes.apply(connection, [*mine, *new], guarded=False)
        held[:] = [w for w in held if w not in mine]
        return True

    # Studies

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self.rdb.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self.rdb.delete_study(study_id)
        self.reader.forget(study_id)
        self.distributions.forget(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.rdb.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.rdb.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        with self.single.connect() as connection:
            return studies.id_of(connection, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        with self.single.connect() as connection:
            return studies.name_of(connection, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        with self.single.connect() as connection:
            return studies.directions_of(connection, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        with self.single.connect() as connection:
            return studies.attributes_of(connection, study_id, studies.USER)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        with self.single.connect() as connection:
            return studies.attributes_of(connection, study_id, studies.SYSTEM)

    def get_all_studies(self) -> list[FrozenStudy]:
        with self.single.connect() as connection:
            return studies.every(connection)

    def remove_session(self) -> None:
        if "rdb" in self.__dict__:  # else it has no session
            self.rdb.remove_session()

    # Within

    @property
    def _held(self) -> list[Write] | None:
        """Writes that this thread holds back; None outside of ``together``."""
        return getattr(self.local, "held", None)

    def _write(self, write: Write) -> None:
        if self._held is None:
            self.commits([write])
        else:
            self._held.append(write)

    def _flush(self) -> None:
        if self._held:
            self.commits(self._held)
            self._held.clear()
