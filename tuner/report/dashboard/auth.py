"""Access control of the dashboard: a WSGI application in front of another one.

With a token, everything except ``/healthz`` and the login page requires it: as ``/?token=…`` or in
the login page, both of which set a cookie, or as ``Authorization: Bearer …``. Without a token, only
requests that name this machine as localhost are accepted: a foreign page could make its own host
name resolve to 127.0.0.1, and would then read, and delete, studies from its visitor's browser.
"""

import hashlib
import hmac
import string
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from bottle import BaseRequest

from tuner.log import log

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READING = {"GET", "HEAD", "OPTIONS"}
COOKIE_AGE = 30 * 24 * 3600
"""Seconds after which a browser must provide the token again."""
LONGEST_FORM = 4096
"""Maximum size in bytes of the form of the login page."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The dashboard's page brings its own.  An artifact may be any file: it may run nothing.
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ),
    "Cache-Control": "private, no-cache",
}
LOGIN_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"


@dataclass(frozen=True)
class Gate:
    """Passes accepted requests to ``application``; ``names`` are those of this machine."""

    application: "WSGIApplication"
    token: str | None
    read_only: bool
    names: frozenset[str]
    cookie: str
    """Name of the cookie; one per port, because a browser does not separate cookies by port."""

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        request = BaseRequest(environ)
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal.send(environ, start_response)
        # optuna-dashboard requires this header; some clients do not send it.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        del environ["bottle.request"]  # the application makes its own

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, _secured(headers), *rest)

        return self.application(environ, start)

    def _refuse(self, request: BaseRequest) -> "Answer | None":
        """Return the response for a request that is refused; None for an accepted one."""
        if request.path == "/healthz":
            return Answer("200 OK", "ok\n")
        if self.token is None and not self._is_local(request):
            return Answer("403 Forbidden", "this dashboard accepts only requests to localhost\n")
        if request.method not in READING and not _same_origin(request):
            return Answer("403 Forbidden", "cross-origin request rejected\n")
        if self.token is not None and (answer := self._log_in(request, self.token)):
            return answer
        if self.read_only and request.method not in READING:
            reason = '{"reason": "This dashboard is read-only: it was started with --read-only."}'
            return Answer("405 Method Not Allowed", reason, "application/json", allow="GET, HEAD")
        return None

    def _log_in(self, request: BaseRequest, token: str) -> "Answer | None":
        """Return the login page, or a response with the cookie; None for authenticated requests."""
        posted = request.method == "POST" and request.path == "/login"
        given = _typed(request) if posted else None
        if request.method == "GET" and request.path == "/":
            given = request.query.get("token")
        if given is not None and _equal(given, token):
            return _onward(self._set_cookie(request, token))
        if given is None and self._is_known(request, token):
            return _onward() if posted or request.path == "/login" else None
        if given is not None:
            log.warning("dashboard: wrong token from %s", request.environ.get("REMOTE_ADDR"))
        return _login_page(wrong=given is not None)

    def _is_known(self, request: BaseRequest, token: str) -> bool:
        scheme, _, given = _header(request, "Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _equal(given.strip(), token)
        return _equal(request.get_cookie(self.cookie) or "", _session(token))

    def _set_cookie(self, request: BaseRequest, token: str) -> str:
        secure = "; Secure" if request.urlparts.scheme == "https" else ""
        flags = f"Path=/; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Strict{secure}"
        return f"{self.cookie}={_session(token)}; {flags}"

    def _is_local(self, request: BaseRequest) -> bool:
        name, colon, port = _header(request, "Host", "localhost").rpartition(":")
        host = name if colon and port.isdigit() else name + colon + port
        return host.strip("[]").lower() in self.names


@dataclass(frozen=True)
class Answer:
    """A short response of the gate itself."""

    status: str
    text: str
    kind: str = "text/plain"
    allow: str | None = None
    cookie: str | None = None
    policy: str | None = None
    challenge: str | None = None

    def send(self, environ: "WSGIEnvironment", start: "StartResponse") -> list[bytes]:
        body = self.text.encode()
        named = {
            "Content-Type": f"{self.kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Allow": self.allow,
            "Set-Cookie": self.cookie,
            "Content-Security-Policy": self.policy,
            "WWW-Authenticate": self.challenge,
        }
        start(self.status, _secured([(key, value) for key, value in named.items() if value]))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _onward(cookie: str | None = None) -> Answer:
    """Return a page that leads to the dashboard.

    It navigates by itself. A redirection would not suffice: after a click on a link on another
    site, the browser does not send a strict cookie with the redirected request.
    """
    page = '<!doctype html><meta http-equiv="refresh" content="0;url=/dashboard">'
    return Answer("200 OK", page, "text/html", cookie=cookie, policy=LOGIN_POLICY)


def _login_page(*, wrong: bool) -> Answer:
    page = files("tuner.report.dashboard").joinpath("login.html").read_text(encoding="utf-8")
    note = "Wrong token." if wrong else ""
    text = string.Template(page).substitute(note=escape(note))
    challenge = 'Bearer realm="tuner dashboard"'
    return Answer("401 Unauthorized", text, "text/html", policy=LOGIN_POLICY, challenge=challenge)


def _same_origin(request: BaseRequest) -> bool:
    """Return whether a changing request comes from the dashboard's page, or from no page.

    Browsers report that in ``Sec-Fetch-Site`` or, if it is missing (plain HTTP to another machine),
    in ``Origin``; programs send neither.
    """
    site = _header(request, "Sec-Fetch-Site", "")
    if site:
        return site in {"same-origin", "none"}
    origin = _header(request, "Origin", "")
    return not origin or urlsplit(origin).netloc == _header(request, "Host", "")


def _header(request: BaseRequest, name: str, default: str) -> str:
    """Return a header as sent: bottle's own reading fails on bytes that are not UTF-8."""
    value: str = request.environ.get(f"HTTP_{name.upper().replace('-', '_')}", default)
    return value


def _typed(request: BaseRequest) -> str:
    """Return the token in the form of the login page."""
    body: bytes = request.body.read(LONGEST_FORM)
    form = parse_qs(body.decode("latin-1"))
    return form.get("token", [""])[0].strip()


def _session(token: str) -> str:
    """Return the value of the cookie, which proves knowledge of the token without revealing it."""
    return hmac.new(token.encode(), b"tuner dashboard session", hashlib.sha256).hexdigest()


def _equal(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _secured(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Add missing security headers, and do not allow other sites to read artifacts."""
    kept = [item for item in headers if item[0].lower() != "access-control-allow-origin"]
    present = {name.lower() for name, _ in kept}
    return kept + [item for item in HEADERS.items() if item[0].lower() not in present]
