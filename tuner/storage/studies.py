"""Reads studies from Optuna's tables, without malformed attributes."""

import functools
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from sqlalchemy import Connection

from tuner.storage import attributes
from tuner.storage.queries import fetch
from tuner.storage.shapes import decoded
from tuner.storage.tables import studies

USER, SYSTEM = "study_user_attributes", "study_system_attributes"


def every(connection: Connection) -> list[FrozenStudy]:
    """Return all studies, in order of creation."""
    directions: dict[int, list[StudyDirection]] = defaultdict(list)
    known = StudyDirection.__members__
    query = "SELECT study_id, direction FROM study_directions ORDER BY study_id, objective"
    for study_id, direction in fetch(connection, query):
        directions[study_id].append(known[direction])
    user, system = (_attributes(connection, table) for table in (USER, SYSTEM))
    return [
        FrozenStudy(
            study_name=name,
            direction=None,
            directions=directions[study_id],
            user_attrs=user[study_id, name],
            system_attrs=system[study_id, name],
            study_id=study_id,
        )
        for study_id, name in user
    ]


def completed(connection: Connection) -> dict[int, int]:
    """Return the number of completed trials of each study that has any, by the study's id."""
    query = "SELECT study_id, COUNT(*) FROM trials WHERE state = 'COMPLETE' GROUP BY study_id"
    return {study_id: int(count) for study_id, count in fetch(connection, query)}


def id_of(connection: Connection, name: str) -> int:
    """Return the id of the study of this name.

    Raises:
        KeyError: There is no such study.
    """
    query = sa.select(studies.c.study_id).where(studies.c.study_name == name)
    found: int | None = connection.scalar(query)
    if found is None:
        raise KeyError(f"no study has the name {name!r}")
    return found


def name_of(connection: Connection, study_id: int) -> str:
    """Return the name of a study.

    Raises:
        KeyError: There is no such study.
    """
    query = sa.select(studies.c.study_name).where(studies.c.study_id == study_id)
    found: str | None = connection.scalar(query)
    if found is None:
        raise KeyError(f"no study has the id {study_id}")
    return found


def directions_of(connection: Connection, study_id: int) -> list[StudyDirection]:
    """Return the direction of each objective; none if the study is damaged.

    Raises:
        KeyError: There is no such study.
    """
    query = (
        "SELECT s.study_id, d.direction FROM studies s LEFT JOIN study_directions d "
        f"ON d.study_id = s.study_id WHERE s.study_id = {int(study_id)} ORDER BY d.objective"
    )
    if not (found := fetch(connection, query)):
        raise KeyError(f"no study has the id {study_id}")
    known = StudyDirection.__members__
    return [known[word] for _, word in found if word in known]


def attributes_of(connection: Connection, study_id: int, table: str) -> dict[str, Any]:
    """Return one study's attributes in ``table`` (USER or SYSTEM).

    Raises:
        KeyError: There is no such study.
    """
    found = _attributes(connection, table, f"WHERE s.study_id = {int(study_id)}")
    if not found:
        raise KeyError(f"no study has the id {study_id}")
    return next(iter(found.values()))


def uid(connection: Connection, study_id: int) -> str | None:
    """Return the study's ``uid``; None if tuner did not create it.

    Raises:
        KeyError: There is no such study.
    """
    found = fetch(
        connection,
        f"SELECT a.value_json FROM studies s LEFT JOIN {USER} a "
        f"ON a.study_id = s.study_id AND a.key = 'uid' WHERE s.study_id = {int(study_id)}",
    )
    if not found:
        raise KeyError(f"no study has the id {study_id}")
    known = decoded(found[0][0])
    return known if attributes.STUDY["uid"](known) else None


def stopped(connection: Connection, study_id: int) -> list[str]:
    """Return the ids of the workers that were asked to leave."""
    query = (  # without the alias MySQL takes `key` for a reserved word
        f"SELECT a.value_json FROM {USER} a "
        f"WHERE a.study_id = {int(study_id)} AND a.key = 'stopped'"
    )
    found = [decoded(text) for (text,) in fetch(connection, query)]
    return [id for ids in found if attributes.STUDY["stopped"](ids) for id in ids]


def _attributes(
    connection: Connection, table: str, where: str = ""
) -> dict[tuple[int, str], dict[str, Any]]:
    """Return attributes by study id and name; empty for a study without attributes."""
    query = (
        f"SELECT s.study_id, s.study_name, a.key, a.value_json FROM studies s LEFT JOIN {table} a "
        f"ON a.study_id = s.study_id {where} ORDER BY s.study_id"
    )
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for study_id, name, key, text in fetch(connection, query):
        known = found.setdefault((study_id, name), {})
        if key is not None:
            known[key] = decoded(text)
    of_study = functools.partial(attributes.of_study, system=table == SYSTEM)
    return {study: of_study(study[1], known) for study, known in found.items()}
