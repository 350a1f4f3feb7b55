"""Copy, rename and delete a study: its rows in all of Optuna's tables, in one transaction.

``optuna.copy_study`` copies through objects, with a commit for each trial and attribute: times pass
through the local zone, which has no name for an hour of autumn, malformed rows are lost, and an
interrupted copy stays half made. Here the rows themselves are copied, with new ids.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from tuner.storage.outages import typed_rows
from tuner.storage.tables import (
    curves,
    directions,
    heartbeats,
    params,
    studies,
    study_attributes,
    study_system_attributes,
    system_attributes,
    trials,
    user_attributes,
    values,
)

OF_STUDY = (directions, study_attributes, study_system_attributes)
OF_TRIAL = (params, values, curves, user_attributes, system_attributes)
"""Tables whose rows belong to a trial, without the heartbeats, which belong to a process."""

BATCH = 500
"""Number of trials whose rows are held in memory at once."""

Row = dict[str, Any]


def copy(source: Connection, study_id: int, target: Connection, name: str) -> int:
    """Insert all rows of a study into another database under a name, and return its new id.

    The heartbeats of Optuna's own workers are left out, because no process runs the copy.

    Raises:
        StorageLost: A row holds what its column cannot.
        IntegrityError: The target has a study of that name.
    """
    new_id = _inserted(target, studies, {"study_name": name})
    for table in OF_STUDY:
        found = _rows(source, table, table.c.study_id == study_id)
        _insert(target, table, [{**row, "study_id": new_id} for row in found])
    new = _copied_trials(source, study_id, target, new_id)
    old = list(new)
    for start in range(0, len(old), BATCH):
        some = old[start : start + BATCH]
        for table in OF_TRIAL:
            rows = _rows(source, table, table.c.trial_id.in_(some))
            _insert(target, table, [{**row, "trial_id": new[row["trial_id"]]} for row in rows])
    return new_id


def _copied_trials(
    source: Connection, study_id: int, target: Connection, new_id: int
) -> dict[int, int]:
    """Insert the trials' own rows, and return the new id for each old one."""
    old = list(_trial_ids(source, study_id))
    found = _rows(source, trials, trials.c.study_id == study_id)
    _insert(target, trials, [{**row, "study_id": new_id} for row in found])
    # Ids grow in the order of the inserts, and nobody else inserts trials of this new study.
    return dict(zip(old, _trial_ids(target, new_id), strict=True))


def _trial_ids(connection: Connection, study_id: int) -> Sequence[int]:
    query = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    return connection.scalars(query.order_by(trials.c.trial_id)).all()


def _rows(connection: Connection, table: Table, where: sa.ColumnElement[bool]) -> list[Row]:
    """Return rows in order of creation, without their own ids."""
    (key,) = table.primary_key.columns
    columns = [column for column in table.columns if column is not key]
    with typed_rows():
        found = connection.execute(sa.select(*columns).where(where).order_by(key))
        return [dict(row) for row in found.mappings()]


def _insert(connection: Connection, table: Table, rows: list[Row]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _inserted(connection: Connection, table: Table, row: Row) -> int:
    key: Any = connection.execute(sa.insert(table).values(**row)).inserted_primary_key
    return int(key[0])


def rename(connection: Connection, study_id: int, name: str) -> None:
    """Give a study another name.

    Raises:
        IntegrityError: Another study has it.
    """
    mine = studies.c.study_id == study_id
    connection.execute(sa.update(studies).where(mine).values(study_name=name))


def delete(connection: Connection, study_id: int) -> None:
    """Delete all rows of a study."""
    mine = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    for table in (*OF_TRIAL, heartbeats):
        connection.execute(sa.delete(table).where(table.c.trial_id.in_(mine)))
    for table in (trials, *OF_STUDY, studies):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
