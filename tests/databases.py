"""SQLite databases for tests, made quickly."""

import functools
import tempfile
from pathlib import Path

from tuner.storage import database
from tuner.storage.trial_storage import Trials


@functools.cache
def _tables() -> bytes:
    """An empty database: Optuna takes a second to make its tables."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        database.connect(f"sqlite:///{path}").close()
        return path.read_bytes()


def sqlite(path: Path) -> Trials:
    """Open a database at a path, with Optuna's tables in it."""
    if not path.exists():
        path.write_bytes(_tables())
    return database.connect(f"sqlite:///{path}")
