"""Serve optuna-dashboard on a cached storage, behind a gate, with a production server.

Its own command reads every trial again at each poll (12.6 s at 10,000 trials), and its default
server is for development. waitress is an established server without dependencies: it limits the
size and duration of requests, and its threads share one cache of trials, which separate processes
would each fill.
"""

import ipaddress
import logging
import os
import secrets
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from typing import TYPE_CHECKING

import waitress
import waitress.wasyncore
from optuna.storages import BaseStorage, get_storage

from tuner.environment import DASHBOARD_TOKEN
from tuner.errors import TunerError
from tuner.log import ON_PURPOSE, log
from tuner.report.dashboard import error_pages
from tuner.report.dashboard.auth import Gate
from tuner.report.dashboard.missing_artifacts import Missing, Store
from tuner.report.dashboard.plugin import Content
from tuner.study.plan import Plan

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SHORTEST = 16
"""Minimum number of characters of a token, because guessing is not slowed down."""
THREADS = 8
CONNECTIONS = 800
"""Limit of simultaneous connections. With waitress's default of 100, a hundred idle ones lock
everybody out. The usual limit of open files is 1,024, and the database needs some of them.
"""
IDLE = 20
"""Seconds after which an idle connection is closed; browsers reconnect by themselves."""
LARGEST_BODY = 32 << 20
"""Maximum size of a request in bytes, such as an uploaded artifact, also without a token."""

BEHIND_A_PROXY = {
    "trusted_proxy": "*",
    "trusted_proxy_headers": {"x-forwarded-host", "x-forwarded-proto"},
}
"""Settings that trust a proxy's headers for host and scheme; only with a token, because without one
the host name must be this machine's.
"""


@dataclass(frozen=True)
class Access:
    """Where the dashboard listens and who may use it.

    Without a ``token`` it answers only to this machine.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    generated: bool = False
    """Whether the token is new and must be shown, once, in the URL."""
    read_only: bool = False


def access(
    host: str,
    port: int,
    *,
    token_file: Path | None,
    login: bool,
    read_only: bool,
    environ: Mapping[str, str] = os.environ,
) -> Access:
    """Return the access that the options request; read a token, or generate one if needed.

    A token is needed for every address that other machines can reach, and with ``login``.

    Raises:
        TunerError: The token is missing from its file or too short.
    """
    token = environ.get(DASHBOARD_TOKEN) or None
    source = DASHBOARD_TOKEN
    if token_file is not None:
        source = f"--token-file {token_file}"
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TunerError(
                f"{source}: {getattr(error, 'strerror', None) or error}",
                key="dashboard",
                hint="the file must contain the token and nothing else",
            ) from error
    plain = token is None or (token.isascii() and token.isprintable())
    if token is not None and (len(token) < SHORTEST or not plain):
        raise TunerError(
            f"{source}: expected a token of {SHORTEST} or more ASCII characters in one line, "
            f"got {len(token)} characters",
            key="dashboard",
            hint="create one with `openssl rand -hex 24`; without a token, tuner generates one",
        )
    generated = token is None and (login or not _is_loopback(host))
    return Access(host, port, secrets.token_hex(24) if generated else token, generated, read_only)


def serve(
    storage: str | BaseStorage,
    artifact_dir: Path,
    access: Access,
    plan: Plan | None = None,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the studies of ``storage`` until SIGINT or SIGTERM; ``ready`` gets the URL.

    ``plan`` is used to repeat the trials of its study.

    Raises:
        TunerError: The host is not of this machine, or the port is not available.
    """
    if access.token is None and not _is_loopback(access.host):
        raise ValueError("an address that other machines can reach needs a token")
    with _listen(access.host, access.port) as listening:
        port = listening.getsockname()[1]
        gate = Gate(
            _application(storage, artifact_dir, plan),
            access.token,
            access.read_only,
            names=frozenset({"localhost", "127.0.0.1", "::1", access.host.lower()}),
            cookie=f"tuner-dashboard-{port}",
        )
        channels: dict[int, object] = {}
        server = waitress.create_server(
            gate,
            channels,
            sockets=[listening],
            threads=THREADS,
            max_request_body_size=LARGEST_BODY,
            connection_limit=min(CONNECTIONS, getrlimit(RLIMIT_NOFILE)[0] * 3 // 4),
            channel_timeout=IDLE,
            cleanup_interval=IDLE,
            asyncore_use_poll=True,  # select() takes no more than 1,024 files
            ident=None,
            **(BEHIND_A_PROXY if access.token else {}),
        )
        with _until_stopped(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for programmers, at every poll
            (ready or _announce)(_address(access, port))
            server.run()  # returns on KeyboardInterrupt
        server.close()
        waitress.wasyncore.close_all(channels, ignore_all=True)  # it leaves the clients' open
    log.info("dashboard stopped")


def _announce(address: str) -> None:
    log.info("dashboard at %s (Ctrl-C stops it)", address, extra=ON_PURPOSE)


def _application(
    storage: str | BaseStorage, artifact_dir: Path, plan: Plan | None
) -> "WSGIApplication":
    from optuna_dashboard import wsgi  # takes more than a second

    shared = error_pages.raising_http_errors(get_storage(storage))
    artifact_dir.mkdir(parents=True, exist_ok=True)
    application = wsgi(shared, Store(artifact_dir))
    application.install(Missing())
    application.install(Content(shared, plan))
    made: WSGIApplication = application
    return made


def _address(access: Access, port: int) -> str:
    """Return the URL for a browser, with the token if it is new."""
    anywhere = access.host in {"", "0.0.0.0", "::"}
    host = socket.gethostname() if anywhere else access.host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={access.token}" if access.generated else "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        if not 0 <= port <= 65535:
            raise OverflowError("a port is a number from 0 to 65535")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        # create_server repeats the address in its message.
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise TunerError(
            f"cannot listen on {host} port {port}: {reason}",
            key="dashboard",
            hint=f"choose another port, such as --port {port + 1 if 0 <= port < 65535 else 8080}",
        ) from error


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Make SIGTERM end the server like Ctrl-C, also as process 1 in a container."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    logging.getLogger("waitress").setLevel(logging.ERROR)  # a queue of requests is no news
    try:
        yield
    except KeyboardInterrupt:  # while it started
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
