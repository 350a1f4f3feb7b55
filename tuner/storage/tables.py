"""Optuna's tables, for statements of SQLAlchemy's Core.

Optuna declares them as classes of SQLAlchemy's ORM, which takes longer to import than a study takes
to read. A test compares the definitions with Optuna's, which creates the tables.
"""

import math

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import Column, DateTime, Enum, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData()
_DOUBLE = sa.Float(precision=53)
_NAME = String(512)

FINITE = "FINITE"
"""The type of a stored number that is not one of ``UNBOUNDED``."""
UNBOUNDED = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""Numbers that Optuna stores as words, because not every database supports them."""


def _key(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True)


def _study_id(*, nullable: bool = True) -> Column[int]:
    return Column("study_id", Integer, ForeignKey("studies.study_id"), nullable=nullable)


def _trial_id(*, nullable: bool = True) -> Column[int]:
    return Column("trial_id", Integer, ForeignKey("trials.trial_id"), nullable=nullable)


def _attributes(name: str, owner: Column[int]) -> Table:
    key = _key(f"{name.removesuffix('s')}_id")
    return Table(name, METADATA, key, owner, Column("key", _NAME), Column("value_json", Text))


studies = Table("studies", METADATA, _key("study_id"), Column("study_name", _NAME, nullable=False))
directions = Table(
    "study_directions",
    METADATA,
    _key("study_direction_id"),
    Column("direction", Enum(StudyDirection), nullable=False),
    _study_id(nullable=False),
    Column("objective", Integer, nullable=False),
)
study_attributes = _attributes("study_user_attributes", _study_id())
study_system_attributes = _attributes("study_system_attributes", _study_id())

trials = Table(
    "trials",
    METADATA,
    _key("trial_id"),
    Column("number", Integer),
    _study_id(),
    Column("state", Enum(TrialState), nullable=False),
    Column("datetime_start", DateTime),
    Column("datetime_complete", DateTime),
)
params = Table(
    "trial_params",
    METADATA,
    _key("param_id"),
    _trial_id(),
    Column("param_name", _NAME),
    Column("param_value", _DOUBLE),
    Column("distribution_json", Text),
)
values = Table(
    "trial_values",
    METADATA,
    _key("trial_value_id"),
    _trial_id(nullable=False),
    Column("objective", Integer, nullable=False),
    Column("value", _DOUBLE),
    Column("value_type", Enum(FINITE, "INF_POS", "INF_NEG", name="trialvaluetype"), nullable=False),
)
curves = Table(
    "trial_intermediate_values",
    METADATA,
    _key("trial_intermediate_value_id"),
    _trial_id(nullable=False),
    Column("step", Integer, nullable=False),
    Column("intermediate_value", _DOUBLE),
    Column(
        "intermediate_value_type",
        Enum(FINITE, *UNBOUNDED, name="trialintermediatevaluetype"),
        nullable=False,
    ),
)
user_attributes = _attributes("trial_user_attributes", _trial_id())
system_attributes = _attributes("trial_system_attributes", _trial_id())
heartbeats = Table(
    "trial_heartbeats",
    METADATA,
    _key("trial_heartbeat_id"),
    _trial_id(nullable=False),
    Column("heartbeat", DateTime, nullable=False),
)


def to_stored(number: float) -> tuple[float | None, str]:
    """Return a number as a column of numbers and one of types hold it."""
    for kind, unbounded in UNBOUNDED.items():
        if number == unbounded or (math.isnan(number) and math.isnan(unbounded)):
            return None, kind
    return number, FINITE


def from_stored(number: float | None, kind: str) -> float:
    """Return a number that was stored with this type.

    Raises:
        LookupError: There is no such type.
        TypeError: There is no number, though the type is ``FINITE``.
    """
    return float(number) if kind == FINITE else UNBOUNDED[kind]  # type: ignore[arg-type]
