"""Write to Optuna's tables, with one statement per fact.

Every write is safe to repeat, because a connection may be lost between a commit and its
confirmation. No write changes a trial that has ended: the statement itself checks the state, so
that no other worker can take the trial away between the check and the write.
"""

import copy
import functools
import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tuner.storage import dialects
from tuner.storage.attributes import MALFORMED
from tuner.storage.dialects import Dialect
from tuner.storage.queries import to_utc
from tuner.storage.tables import (
    curves,
    from_stored,
    params,
    system_attributes,
    to_stored,
    trials,
    user_attributes,
    values,
)

KEYS = {
    params: "param_name",
    values: "objective",
    curves: "step",
    user_attributes: "key",
    system_attributes: "key",
}
"""Table → the column that, with the trial's id, identifies a row."""

UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


class Write(NamedTuple):
    """A row to insert, or to replace if its key exists."""

    table: sa.Table
    row: dict[str, Any]


def _row(table: sa.Table, *items: object) -> Write:
    """Return the write of a row's items, in the order of the table's columns."""
    names = [column.name for column in table.columns if not column.primary_key]
    return Write(table, dict(zip(names, items, strict=True)))


def param(trial_id: int, name: str, internal: float, distribution: BaseDistribution) -> Write:
    return _row(params, trial_id, name, float(internal), distribution_to_json(distribution))


def value(trial_id: int, objective: int, number: float) -> Write:
    return _row(values, trial_id, objective, *to_stored(float(number)))


def report(trial_id: int, step: int, number: float) -> Write:
    return _row(curves, trial_id, step, *to_stored(float(number)))


def user(trial_id: int, key: str, item: Any) -> Write:
    return _row(user_attributes, trial_id, key, json.dumps(item))


def system(trial_id: int, key: str, item: Any) -> Write:
    return _row(system_attributes, trial_id, key, json.dumps(item))


def apply(connection: Connection, writes: Sequence[Write], *, guarded: bool = True) -> bool:
    """Execute the writes.

    Args:
        guarded: Store nothing for trials that have ended or do not exist.

    Returns:
        False if such a trial was found; the caller must then roll back.
    """
    dialect = dialects.of(connection)
    by_table: dict[sa.Table, list[dict[str, Any]]] = {}
    for write in writes:
        row = {f"new_{name}": item for name, item in write.row.items()}
        by_table.setdefault(write.table, []).append(row)
    for table, rows in by_table.items():
        statement = upsert(dialect, table, guarded=guarded)
        batches = [rows] if dialect.counts_rows else [[row] for row in rows]
        for batch in batches:
            done = connection.execute(statement, batch if len(batch) > 1 else batch[0])
            if guarded and done.rowcount < len(batch):
                return False
    return True


@functools.cache
def upsert(dialect: Dialect, table: sa.Table, *, guarded: bool) -> sa.Insert:
    """Return the statement that inserts a row of ``new_<column>`` values or replaces it.

    If ``guarded``, it stores nothing unless the trial is unfinished. A concurrent change of the
    state then waits for the commit.
    """
    columns = [c for c in table.columns if not c.primary_key]
    new = {c.name: sa.bindparam(f"new_{c.name}", type_=c.type) for c in columns}
    # Without this option SQLAlchemy discards the row count of an INSERT.
    statement: Any = dialect.insert(table).execution_options(preserve_rowcount=True)
    if guarded:
        unfinished: list[Any] = [sa.literal_column(f"'{state.name}'") for state in UNFINISHED]
        items = [dialect.selected(new[c.name], c.type) for c in columns]
        source = sa.select(*items).where(
            trials.c.trial_id == new["trial_id"], trials.c.state.in_(unfinished)
        )
        statement = statement.from_select(list(new), dialect.guard(source, trials))
    else:
        statement = statement.values(new).inline()
    key = ("trial_id", KEYS[table])
    return dialect.replace(statement, key, [column for column in new if column not in key])


def refuse(connection: Connection, trial_ids: Collection[int]) -> None:
    """Raise the error that explains why a trial cannot be written to, if there is one.

    Raises:
        KeyError: A trial does not exist.
        UpdateFinishedTrialError: A trial has ended.
    """
    query = sa.select(trials.c.trial_id, trials.c.number, trials.c.state)
    found = connection.execute(query.where(trials.c.trial_id.in_(trial_ids))).all()
    if missing := set(trial_ids) - {trial_id for trial_id, _, _ in found}:
        raise KeyError(f"there is no trial of id {min(missing)}")
    for _, number, state in found:
        if state.is_finished():
            raise UpdateFinishedTrialError(
                f"trial#{number} has already finished ({state.name}) and can not be updated"
            )


def create(
    connection: Connection, study_id: int, number: int, template: FrozenTrial | None = None
) -> int:
    """Create a trial with the contents of the template, or an empty running one; return its id.

    The study must be locked; otherwise two trials may get the same number.
    """
    now = to_utc(datetime.now())
    head = {"state": TrialState.RUNNING, "datetime_start": now}
    if template is not None:
        start, end = template.datetime_start, template.datetime_complete
        head = {
            "state": template.state,
            "datetime_start": None if start is None else to_utc(start),
            "datetime_complete": None if end is None else to_utc(end),
        }
    new = sa.insert(trials).values(study_id=study_id, number=number, **head)
    key: Any = connection.execute(new).inserted_primary_key
    trial_id = int(key[0])
    if template is not None:
        apply(connection, contents(trial_id, template), guarded=False)
    return trial_id


def next_number(connection: Connection, study_id: int) -> int:
    """Return the number of the next trial; the study must be locked."""
    latest: int | None = connection.scalar(
        sa.select(sa.func.max(trials.c.number)).where(trials.c.study_id == study_id)
    )
    return 0 if latest is None else latest + 1


def contents(trial_id: int, trial: FrozenTrial) -> list[Write]:
    """Return the contents of a trial as writes to another one."""
    drawn = [(k, d.to_internal_repr(trial.params[k]), d) for k, d in trial.distributions.items()]
    return [
        *(param(trial_id, *each) for each in drawn),
        *(value(trial_id, k, number) for k, number in enumerate(trial.values or ())),
        *(report(trial_id, step, number) for step, number in trial.intermediate_values.items()),
        *(user(trial_id, key, item) for key, item in trial.user_attrs.items()),
        *(system(trial_id, k, item) for k, item in trial.system_attrs.items() if k != MALFORMED),
    ]


def onto(trial: FrozenTrial, held: Sequence[Write]) -> FrozenTrial:
    """Return the trial as it will be once the writes, all of which are to it, are stored."""
    new = copy.copy(trial)
    new.user_attrs, new.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    new.params, new.distributions = dict(trial.params), dict(trial.distributions)
    new.intermediate_values = dict(trial.intermediate_values)
    for table, row in held:
        if table is user_attributes:
            new.user_attrs[row["key"]] = json.loads(row["value_json"])
        elif table is system_attributes:
            new.system_attrs[row["key"]] = json.loads(row["value_json"])
        elif table is params:
            found = json_to_distribution(row["distribution_json"])
            new.distributions[row["param_name"]] = found
            new.params[row["param_name"]] = found.to_external_repr(row["param_value"])
        elif table is curves:
            new.intermediate_values[row["step"]] = from_stored(
                row["intermediate_value"], row["intermediate_value_type"]
            )
    return new


def change_state(
    connection: Connection, trial_id: int, state: TrialState, ago: float = 0.0
) -> bool:
    """Start a waiting trial or end an unfinished one; return False if its state does not allow it.

    Args:
        state: The new state.
        ago: Seconds by which the end lies in the past; it is never set before the start.
    """
    now = to_utc(datetime.now())
    change: dict[str, Any] = {"state": state}
    if state == TrialState.RUNNING:
        change["datetime_start"] = now
    if state.is_finished():
        end = now - timedelta(seconds=max(0.0, ago))  # clocks may be set back
        began = trials.c.datetime_start
        change["datetime_complete"] = sa.case((began > end, began), else_=end) if ago else now
    before = [TrialState.WAITING] if state == TrialState.RUNNING else UNFINISHED
    update = sa.update(trials).where(trials.c.trial_id == trial_id, trials.c.state.in_(before))
    return bool(connection.execute(update.values(change)).rowcount)
