"""Access control of the dashboard, tested through the WSGI interface."""

import io
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from tuner.report.dashboard.auth import Gate

TOKEN = "correct horse battery"


@dataclass
class Asked:
    status: int
    headers: dict[str, str]
    body: bytes


def inner(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("Content-Type", "a/b")])
    return [b"studies " + environ["wsgi.input"].read()]


LOCAL = Gate(inner, None, False, frozenset({"localhost", "127.0.0.1", "::1"}), "name")
GUARDED = replace(LOCAL, token=TOKEN, names=frozenset())


def ask(
    gate: Gate,
    path: str = "/api/studies",
    method: str = "GET",
    *,
    body: bytes = b"",
    query: str = "",
    scheme: str = "http",
    **headers: str,
) -> Asked:
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "192.0.2.7",
        "SERVER_NAME": "waitress.invalid",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": scheme,
        "HTTP_HOST": "localhost:8080",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    seen: list[Any] = []
    answered = gate(environ, lambda status, found, *_: seen.extend([status, found]))  # type: ignore[arg-type, func-returns-value]
    return Asked(int(seen[0].split()[0]), dict(seen[1]), b"".join(answered))


def log_in(gate: Gate, token: str, **options: Any) -> Asked:
    form = urlencode({"token": token}).encode()
    return ask(gate, "/login", "POST", body=form, **options)


def cookie_of(asked: Asked) -> str:
    return asked.headers["Set-Cookie"].partition(";")[0]


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/static/bundle.js", "/csv/1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "ODD"])
def test_a_stranger_gets_nothing_but_the_login_page(path: str, method: str) -> None:
    asked = ask(GUARDED, path, method)
    assert asked.status == 401
    assert b"studies" not in asked.body
    assert TOKEN.encode() not in asked.body


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", f"Bearer {TOKEN}x"),
        ("Authorization", "Bearer "),
        ("Authorization", TOKEN),
        ("Cookie", f"name={TOKEN}"),
        ("Cookie", "name="),
        ("Cookie", "name=\xff"),
        ("Authorization", "Bearer \xe4"),
    ],
)
def test_what_is_not_quite_the_token_does_not_pass(header: str, value: str) -> None:
    assert ask(GUARDED, **{header: value}).status == 401


def test_the_token_passes_as_a_bearers() -> None:
    assert ask(GUARDED, Authorization=f"bearer {TOKEN}").body == b"studies "


def test_the_login_page_leaves_a_cookie_that_passes_and_is_not_the_token() -> None:
    asked = log_in(GUARDED, TOKEN)
    assert asked.status == 200
    assert b'content="0;url=/dashboard"' in asked.body
    name, _, value = cookie_of(asked).partition("=")
    assert name == "name"
    assert len(value) == 64
    flags = asked.headers["Set-Cookie"]
    assert "HttpOnly" in flags
    assert "SameSite=Strict" in flags
    assert "Secure" not in flags
    assert ask(GUARDED, Cookie=f"other=1; {cookie_of(asked)}").status == 200
    assert ask(replace(GUARDED, token=TOKEN + "2"), Cookie=cookie_of(asked)).status == 401
    assert ask(replace(GUARDED, cookie="port-2"), Cookie=cookie_of(asked)).status == 401


def test_behind_https_the_cookie_stays_there() -> None:
    assert "; Secure" in log_in(GUARDED, TOKEN, scheme="https").headers["Set-Cookie"]


def test_the_address_that_is_printed_logs_in() -> None:
    asked = ask(GUARDED, "/", query=urlencode({"token": TOKEN}))
    assert asked.status == 200
    assert ask(GUARDED, Cookie=cookie_of(asked)).status == 200
    # It leads on to an address without the token, which the history would keep.
    assert TOKEN.encode() not in asked.body


def test_a_wrong_token_is_said_and_logged_without_it(caplog: pytest.LogCaptureFixture) -> None:
    for asked in (log_in(GUARDED, "guess"), ask(GUARDED, "/", query="token=guess")):
        assert asked.status == 401
        assert b"Wrong token" in asked.body
        assert "Set-Cookie" not in asked.headers
        assert b"guess" not in asked.body
    assert b"Wrong token" not in ask(GUARDED).body
    assert [record.getMessage() for record in caplog.records] == [
        "dashboard: wrong token from 192.0.2.7"
    ] * 2


@pytest.mark.parametrize("body", [b"", b"token", b"token=\xff\xfe", b"\0" * 100_000])
def test_a_form_that_is_none_is_a_wrong_token(body: bytes) -> None:
    assert ask(GUARDED, "/login", "POST", body=body).status == 401


def test_health_is_told_to_anyone_and_tells_nothing() -> None:
    for gate in (GUARDED, LOCAL, replace(GUARDED, read_only=True)):
        asked = ask(gate, "/healthz", Host="10.0.0.7:8080")
        assert (asked.status, asked.body) == (200, b"ok\n")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:1", "LOCALHOST", "[::1]"])
def test_without_a_token_it_answers_to_the_names_of_this_machine(host: str) -> None:
    assert ask(LOCAL, Host=host).body == b"studies "


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_elsewhere_cannot_reach_it_by_its_own_name(host: str) -> None:
    assert ask(LOCAL, Host=host).status == 403
    assert ask(GUARDED, Host=host, Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),  # no browser
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "http://localhost:9000"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_a_page_elsewhere_changes_nothing(
    method: str, headers: dict[str, str], passes: bool
) -> None:
    for gate, more in ((LOCAL, {}), (GUARDED, {"Authorization": f"Bearer {TOKEN}"})):
        asked = ask(gate, "/api/studies/1", method, **headers, **more)
        assert asked.status == (200 if passes else 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "ODD"])
@pytest.mark.parametrize("gate", [LOCAL, GUARDED])
def test_read_only_refuses_what_changes_and_says_why(gate: Gate, method: str) -> None:
    gate = replace(gate, read_only=True)
    asked = ask(gate, "/api/studies/1", method, Authorization=f"Bearer {TOKEN}")
    assert (asked.status, asked.headers["Allow"]) == (405, "GET, HEAD")
    assert b"--read-only" in asked.body
    assert ask(gate, Authorization=f"Bearer {TOKEN}").status == 200


def test_read_only_lets_people_log_in() -> None:
    assert log_in(replace(GUARDED, read_only=True), TOKEN).status == 200


def test_every_answer_carries_the_headers_that_keep_it_in(caplog: pytest.LogCaptureFixture) -> None:
    for asked in (ask(LOCAL), ask(GUARDED), log_in(GUARDED, TOKEN), ask(LOCAL, Host="a.b")):
        assert asked.headers["X-Content-Type-Options"] == "nosniff"
        assert asked.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert asked.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "default-src 'none'" in asked.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in asked.headers


def test_the_body_reaches_the_dashboard_whole() -> None:
    assert ask(LOCAL, "/api/studies", "POST", body=b"name").body == b"studies name"
