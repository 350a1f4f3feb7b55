"""optuna-dashboard on a cached storage, served to this machine alone.

The dashboard knows neither users nor a read-only mode, and its own command reads every trial anew
at each poll (12.6 s at 10,000 trials; cached 0.35 s).
"""

import ipaddress
import logging
import socket
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.storages import BaseStorage, get_storage

from tuner.artifacts import open_store
from tuner.errors import TunerError
from tuner.log import log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def serve(
    storage: str | BaseStorage,
    artifact_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the studies of ``storage`` until SIGINT; ``ready`` is told the address.

    Raises TunerError when ``host`` is not of this machine or the port cannot be had.
    """
    _refuse_strangers(host)
    server = _listen(host, port)
    try:
        server.set_app(_guarded(_application(storage, artifact_dir)))
        shown = f"[{host}]" if ":" in host else host
        (ready or _announce)(f"http://{shown}:{server.server_port}/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for programmers, at every poll
            server.serve_forever()
    except KeyboardInterrupt:
        log.info("dashboard stopped")
    finally:
        server.server_close()


def _announce(address: str) -> None:
    log.info("dashboard at %s (Ctrl-C ends it)", address)


def _application(storage: str | BaseStorage, artifact_dir: Path) -> "WSGIApplication":
    from optuna_dashboard import wsgi  # takes more than a second

    application: WSGIApplication = wsgi(get_storage(storage), open_store(artifact_dir))
    return application


def _refuse_strangers(host: str) -> None:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise TunerError(
            "dashboard: it has no password, so it is served to this machine alone; "
            f"got --host {host}\n"
            "hint: leave --host out, and reach it from afar with `ssh -L 8080:localhost:8080`"
        )


def _listen(host: str, port: int) -> "_Server":
    kind = _Server6 if ":" in host else _Server
    try:
        return kind((host, port), _Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TunerError(
            f"dashboard: cannot listen on {host} port {port}: {reason}\n"
            f"hint: choose another port, such as --port {port + 1 if port < 65535 else 8080}"
        ) from error


def _guarded(application: "WSGIApplication") -> "WSGIApplication":
    """Refuse other names for this machine, and scripts in artifacts.

    A web page elsewhere may have its own name resolved to 127.0.0.1 and would then read, and
    delete, our studies in its visitor's browser: only the Host header tells.
    """

    def guard(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "localhost").rpartition(":")
        name = (host[0] if host[1] and host[2].isdigit() else "".join(host)).strip("[]").lower()
        if name not in {"localhost", "127.0.0.1", "::1", environ["SERVER_NAME"]}:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"tuner dashboard answers to localhost alone\n"]
        # optuna-dashboard takes it for granted; some clients leave it out.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            headers.append(("X-Content-Type-Options", "nosniff"))
            if environ["PATH_INFO"].startswith("/artifacts/"):
                headers.append(("Content-Security-Policy", "sandbox"))
            return start_response(status, headers, *rest)

        return application(environ, start)

    return guard


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # an open poll does not hold up the end

    def server_bind(self) -> None:
        # HTTPServer's own looks its name up in the DNS, which may take seconds and tells nothing.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("dashboard: a client went away", exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        log.log(logging.DEBUG, "dashboard: " + format, *args)
