"""Convert rows of Optuna's tables to trials, many at once.

Optuna's own mapper creates an object per row, which takes 10 to 15 s for 10,000 trials. Here, one
statement reads everything about any set of trials as plain tuples, and each row is processed once.

The statements are hand-written and contain the ids: these are integers of the database itself, and
passing a thousand of them as parameters costs the drivers more than reading them costs the server.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from tuner.storage import attributes, dialects
from tuner.storage.attributes import MALFORMED
from tuner.storage.dialects import Dialect
from tuner.storage.outages import typed_rows
from tuner.storage.shapes import decoded
from tuner.storage.tables import from_stored

MANY = 100
"""Number of ids from which on a range is requested instead, if it contains few others."""

PARAM, VALUE, CURVE, USER, SYSTEM = range(5)


class Head(NamedTuple):
    """A trial's own row; times are local and without a zone, as in Optuna's ``FrozenTrial``."""

    id: int
    number: int
    state: TrialState
    start: datetime | None
    complete: datetime | None

    def continues(self, before: "Head") -> bool:
        """Return whether this is the row ``before``, and not another trial with a reused id."""
        moved = self.start != before.start and None not in (self.start, before.start)
        return self.number == before.number and not moved


@dataclass(slots=True)
class Facts:
    """The contents of the other tables for a trial."""

    params: list[tuple[int, str, float, str]] = field(default_factory=list)
    """Tuples of (row id, name, internal value, distribution as JSON)."""
    values: dict[int, float] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """The trials to request from each table."""

    params: Collection[int] = ()
    values: Collection[int] = ()
    curve: Collection[int] = ()
    user: Collection[int] = ()
    system: Collection[int] = ()
    news: Mapping[int, int] = field(default_factory=dict)
    """Trial id → last known step; only later steps of these trials are requested."""


def require_study(connection: Connection, study_id: int) -> None:
    """Raise ``KeyError`` if there is no such study."""
    if not fetch(connection, f"SELECT 1 FROM studies WHERE study_id = {int(study_id)}"):
        raise KeyError(f"no study has the id {study_id}")


def everything(ids: Collection[int]) -> Question:
    return Question(ids, ids, ids, ids, ids)


def heads(connection: Connection, where: str) -> list[Head]:
    """Return the rows of the table ``trials`` that meet a condition, in order of creation."""
    rows = fetch(
        connection,
        "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
        f"WHERE {where} ORDER BY trial_id",
    )
    states = TrialState.__members__
    with typed_rows():
        return [Head(i, int(n), states[state], _local(a), _local(b)) for i, n, state, a, b in rows]


def facts(connection: Connection, question: Question) -> Mapping[int, Facts]:
    """Return the requested facts by trial id, read with one statement.

    A trial without any facts is missing. The result may also contain facts of other trials whose
    ids lie between the requested ones.
    """
    dialect = dialects.of(connection)
    text = dialect.text
    step = f"{CURVE}, step, '', intermediate_value, CAST(intermediate_value_type AS {text})"
    param = f"{PARAM}, param_id, param_name, param_value, distribution_json"
    value = f"{VALUE}, objective, '', value, CAST(value_type AS {text})"
    asked = [
        (question.params, "trial_params", param),
        (question.values, "trial_values", value),
        (question.curve, "trial_intermediate_values", step),
        (question.user, "trial_user_attributes", f"{USER}, 0, t.key, 0e0, value_json"),
        (question.system, "trial_system_attributes", f"{SYSTEM}, 0, t.key, 0e0, value_json"),
    ]
    parts = [
        f"SELECT trial_id, {columns} FROM {table} t WHERE {_among(ids)}"
        for ids, table, columns in asked
        if ids
    ]
    if question.news:
        parts.append(f"SELECT t.trial_id, {step} FROM {_later(dialect, question.news)}")
    found: dict[int, Facts] = defaultdict(Facts)
    if parts:
        _sort(fetch(connection, " UNION ALL ".join(parts)), found)
    return found


def trial(head: Head, known: Facts) -> FrozenTrial:
    """Return the trial as Optuna's own storage would, without malformed attributes."""
    params, distributions = parameters(head.number, known)
    user, system = attributes.of_trial(head.number, known.user, known.system)
    if lost := [str(name) for _, name, _, _ in known.params if name not in params]:
        system = {**system, MALFORMED: [*system.get(MALFORMED, ()), *lost]}
    return FrozenTrial(
        number=head.number,
        state=head.state,
        value=None,
        values=[known.values[k] for k in sorted(known.values)] or None,
        datetime_start=head.start,
        datetime_complete=head.complete,
        params=params,
        distributions=distributions,
        user_attrs=user,
        system_attrs=system,
        intermediate_values=known.curve,
        trial_id=head.id,
    )


def parameters(number: int, known: Facts) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return values and distributions by name, in the order in which they were sampled."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for _, name, value, text in sorted(known.params):
        try:
            found = attributes.distribution(text)
            if value < 0 and isinstance(found, CategoricalDistribution):
                raise IndexError(value)
            if not isinstance(name, str):  # NULL, or a blob in SQLite
                raise TypeError(name)
            params[name] = found.to_external_repr(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            attributes.warn(f"trial {number}", str(name), f"{value} of {text}")
            continue
        distributions[name] = found
    return params, distributions


def listed(ids: Collection[int]) -> str:
    """Return ids as an SQL list; without ids the list is 0, which no row has."""
    return ",".join(str(int(number)) for number in ids) or "0"


def _among(ids: Collection[int]) -> str:
    """Return an SQL condition for the ids; a range if they are many and dense.

    PostgreSQL finds the rows of 10,000 trials in 85 ms by ranges, in 129 ms by lists of 5,000 ids.
    """
    first, last = min(ids), max(ids)
    if len(ids) > MANY and 2 * len(ids) > last - first:
        return f"trial_id BETWEEN {first} AND {last}"
    return f"trial_id IN ({listed(ids)})"


def to_utc(time: datetime) -> datetime:
    """Convert local time to UTC without a zone, as Optuna stores it."""
    return time.astimezone(UTC).replace(tzinfo=None)


def _local(stored: datetime | str | None) -> datetime | None:
    if stored is None:
        return None
    time = datetime.fromisoformat(stored) if isinstance(stored, str) else stored  # SQLite: text
    return time + _offset(time.year, time.month, time.day, time.hour, time.minute // 15)


@lru_cache(maxsize=4096)
def _offset(year: int, month: int, day: int, hour: int, quarter: int) -> timedelta:
    """Return the offset of local time from UTC, which changes only at quarters of an hour.

    Without this cache, the system is queried twice per trial, a tenth of the time of reading it.
    """
    time = datetime(year, month, day, hour, quarter * 15, tzinfo=UTC)
    return time.astimezone().utcoffset() or timedelta()


def _later(dialect: Dialect, news: Mapping[int, int]) -> str:
    """Return the rows of curves after the given steps as a table ``t``, each found by the index."""
    pairs = ",".join(f"{dialect.row}({i},{last})" for i, last in news.items())
    seen = f"(WITH seen(trial_id, last) AS (VALUES {pairs}) SELECT * FROM seen) seen"
    later = "t.trial_id = seen.trial_id AND t.step > seen.last"
    return f"{seen} {dialect.join('trial_intermediate_values', later)}"


def fetch(connection: Connection, statement: str) -> list[Any]:
    """Return the driver's own tuples; SQLAlchemy's rows would double the time of a large result."""
    result = connection.exec_driver_sql(statement)
    assert result.cursor is not None
    try:
        rows: list[Any] = result.cursor.fetchall()  # type: ignore[assignment]
    except Exception as error:  # SQLite reads its file here; raise as for any statement
        connection._handle_dbapi_exception(error, statement, None, result.cursor, result.context)
    result.close()
    return rows


@typed_rows()
def _sort(rows: list[Any], found: dict[int, Facts]) -> None:
    for trial_id, kind, position, name, number, text in rows:
        known = found[trial_id]
        if kind == PARAM:
            known.params.append((position, name, number, text))
        elif kind == CURVE:
            known.curve[int(position)] = from_stored(number, text)
        elif kind == USER:
            known.user[name] = decoded(text)
        elif kind == SYSTEM:
            known.system[name] = decoded(text)
        else:
            known.values[int(position)] = from_stored(number, text)
