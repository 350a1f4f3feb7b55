"""The version of Optuna's tables, found without Alembic."""

import sqlite3
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from tuner.errors import StorageError
from tuner.storage import database, schema


def test_the_newest_version_is_the_one_that_optuna_creates(tmp_path: Path) -> None:
    made = RDBStorage(f"sqlite:///{tmp_path}/made.db")
    assert schema.version(made.engine) == schema.newest() == made.get_head_version()


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/old.db", tmp_path / "old.db"
    database.connect(url).close()
    for version, cure in (("v2.6.0.a", "storage upgrade"), ("v99.0.0.a", "updating optuna")):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", [version])
        connection.close()
        for write in (True, False):
            with pytest.raises(StorageError, match=cure):
                database.connect(url, write=write)
