"""The definitions of Optuna's tables are those of the installed Optuna."""

import math

import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel, TrialIntermediateValueModel, TrialValueModel

from tuner.storage.tables import METADATA, from_stored, to_stored

OPTUNA: sa.MetaData = BaseModel.metadata
VERSION = "version_info"
"""The one table of Optuna that no statement of ours names."""


def told(table: sa.Table) -> set[tuple[object, ...]]:
    """Describe the columns of a table: name, type, key, and what they refer to."""
    return {
        (
            column.name,
            type(column.type),
            *(str(getattr(column.type, what, "")) for what in ("length", "precision", "enums")),
            column.type.name if isinstance(column.type, sa.Enum) else "",
            column.primary_key,
            column.nullable,
            *(key.target_fullname for key in column.foreign_keys),
        )
        for column in table.columns
    }


def test_every_table_has_the_columns_of_optunas():
    assert METADATA.tables.keys() == OPTUNA.tables.keys() - {VERSION}
    for name, table in METADATA.tables.items():
        assert told(table) == told(OPTUNA.tables[name]), name


@pytest.mark.parametrize("number", [0.1, -0.0, math.inf, -math.inf, math.nan])
def test_a_number_is_stored_as_optuna_stores_it(number: float):
    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(number)
    assert to_stored(number) == (stored, kind.name)
    assert from_stored(*to_stored(number)) == pytest.approx(number, nan_ok=True, rel=0, abs=0)
    if not math.isnan(number):  # which is no value of a trial
        stored, value_kind = TrialValueModel.value_to_stored_repr(number)
        assert to_stored(number) == (stored, value_kind.name)
