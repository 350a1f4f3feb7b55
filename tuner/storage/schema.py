"""Optuna's tables, and Optuna's own storage on them, which are needed less often than the tables.

Optuna's storage asks Alembic for the version of the tables, and configures its mappers, which takes
longer than to read a study. Here one query tells the version, and Optuna's storage is created only
to create tables, to judge those of another version, and to write studies.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage, _rdb
from sqlalchemy import Engine, inspect, text

Options = Mapping[str, Any]
"""Arguments of ``sqlalchemy.create_engine``."""


def version(engine: Engine) -> str | None:
    """Return the version of Optuna's tables; None if not all of them exist.

    Optuna writes it last.
    """
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


@cache
def newest() -> str:
    """Return the version of the tables that the installed Optuna creates, such as ``v3.2.0.a``."""
    migrations = Path(_rdb.__path__[0], "alembic", "versions").glob("v*.py")
    names = [path.stem.rstrip("_") for path in migrations]
    return max(names, key=lambda name: [part.zfill(9) for part in name[1:].split(".")], default="")


def require(url: str, options: Options, *, create: bool) -> None:
    """Create missing tables if ``create``; leave present ones as they are.

    Raises:
        RuntimeError: They are of a version that the installed Optuna does not read.
    """
    _stock(url, options, skip_table_creation=not create).engine.dispose()


def optuna_storage(engine: Engine, options: Options) -> RDBStorage:
    """Return Optuna's storage on an engine whose tables were checked."""
    url = engine.url.render_as_string(hide_password=False)
    rdb = _stock(url, options, skip_compatibility_check=True, skip_table_creation=True)
    rdb.engine.dispose()
    rdb.engine = engine
    rdb.scoped_session.configure(bind=engine)
    return rdb


def _stock(url: str, options: Options, **skip: Any) -> RDBStorage:
    # Optuna formats the URL as a template.
    rdb = RDBStorage(url.replace("{", "{{").replace("}", "}}"), dict(options), **skip)
    rdb.remove_session()
    return rdb
