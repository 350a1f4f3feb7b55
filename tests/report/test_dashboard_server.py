"""A real dashboard process, tested over HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.samples import new_study
from tests.worker.test_artifacts import running
from tuner.environment import DASHBOARD_TOKEN
from tuner.errors import TunerError
from tuner.report.dashboard import server
from tuner.worker.artifacts import attach, open_store

SERVE = """
import sys
from pathlib import Path
from tuner.report.dashboard import server
from tuner.report.dashboard.server import access, serve
if "-i" in sys.argv:
    server.IDLE = 1
host, options = sys.argv[3], {"login": "-l" in sys.argv, "read_only": "-r" in sys.argv}
tell = lambda url: print(url, flush=True)
serve(sys.argv[1], Path(sys.argv[2]), access(host, 0, token_file=None, **options), ready=tell)
print("left", flush=True)
"""
TOKEN = "a token that nobody guesses"
pytestmark = pytest.mark.xdist_group("dashboard")  # so that one process starts the servers


def start(directory: Path, *args: str, host: str = "127.0.0.1", **env: str) -> "Served":
    url = f"sqlite:///{directory}/a b.db"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, url, str(directory / "artifacts"), host, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        pytest.fail(process.communicate()[1])
    return Served(process, urlsplit(address).port or 0, address)


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int
    address: str

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=280)
        with closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response, response.read()

    def end(self) -> tuple[str, str]:
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate()

    def check_it_ends_on(self, number: signal.Signals) -> None:
        """It answers a signal by leaving, without a word."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=280)
        assert (self.process.returncode, out, err) == (0, "left\n", "")

    def json(self, path: str) -> Any:
        response, body = self.ask(path)
        assert response.status == 200
        return json.loads(body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    study = new_study(directory)
    trial, run_dir = running(study, directory)
    attach(study, trial, run_dir, open_store(directory / "artifacts"))
    study.tell(trial, 0.75)
    started = start(directory, "-i")
    assert started.address.startswith("http://127.0.0.1:")
    yield started
    started.end()


def test_it_shows_the_study_with_its_note_and_curve(served: Served) -> None:
    (study,) = served.json("/api/studies")["study_summaries"]
    assert study["study_name"] == "digits"
    detail = served.json(f"/api/studies/{study['study_id']}?after=0")
    (trial,) = detail["trials"]
    assert trial["note"]["body"].startswith("```text\noptimizer=sgd\n"), "not this command's study"
    assert [point["value"] for point in trial["intermediate_values"]] == [0.25, 0.5, 0.75]
    assert sorted(a["filename"] for a in trial["artifacts"]) == [
        "confusion.svg",
        "learning_curves.svg",
    ]


def test_an_artifact_opens_as_an_image_that_cannot_run_scripts(served: Served) -> None:
    (study,) = served.json("/api/studies")["study_summaries"]
    detail = served.json(f"/api/studies/{study['study_id']}?after=0")
    trial = detail["trials"][0]
    for artifact in trial["artifacts"]:
        path = f"/artifacts/{study['study_id']}/{trial['trial_id']}/{artifact['artifact_id']}"
        response, body = served.ask(path)
        assert (response.status, response.headers["Content-Type"]) == (200, "image/svg+xml")
        assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert "Access-Control-Allow-Origin" not in response.headers
        assert b"<svg" in body


def test_artifacts_that_do_not_exist_are_not_found(tmp_path: Path) -> None:
    """Nor are those whose file is missing; their trial and study can be cleaned up all the same."""
    study = new_study(tmp_path)
    trial, run_dir = running(study, tmp_path)
    attach(study, trial, run_dir, open_store(tmp_path / "artifacts"))
    for path in (tmp_path / "artifacts").iterdir():
        path.unlink()
    application = server._application(study._storage, tmp_path / "artifacts", None)

    def asked(path: str, method: str = "GET") -> tuple[int, bytes]:
        said: list[str] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.errors": sys.stderr}
        body = b"".join(application(environ, lambda status, *_: said.append(status)))
        return int(said[0].split()[0]), body

    attrs = study._storage.get_trial_system_attrs(trial._trial_id)
    missing = [key.removeprefix("artifacts:") for key in attrs if key.startswith("artifacts:")]
    known = f"{study._study_id}/{trial._trial_id}/{missing[0]}"
    for place in (known, f"{study._study_id}/99/abc", "99/abc"):
        assert asked(f"/artifacts/{place}")[0] == 404
    assert asked(f"/api/artifacts/{known}", "DELETE")[0] == 204
    assert asked(f"/api/studies/{study._study_id}", "DELETE")[0] == 204


def test_idle_connections_do_not_lock_others_out(guarded: Served) -> None:
    with ExitStack() as held:
        for _ in range(150):
            held.enter_context(socket.create_connection(("127.0.0.1", guarded.port)))
        assert guarded.ask("/healthz")[0].status == 200


def test_idle_connections_are_closed(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=280) as idle:
        assert idle.recv(1) == b""


def test_the_page_itself_is_served(served: Served) -> None:
    response, body = served.ask("/dashboard/")
    assert response.status == 200
    assert b"bundle.js" in body


def test_a_page_elsewhere_is_not_answered(served: Served) -> None:
    assert served.ask("/api/studies", Host="evil.example")[0].status == 403
    spoofed = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert served.ask("/api/studies", **spoofed)[0].status == 403
    assert served.ask("/api/studies", "POST", Origin="https://evil.example")[0].status == 403


def test_ctrl_c_ends_it_cleanly_and_quietly(tmp_path: Path) -> None:
    new_study(tmp_path)
    served = start(tmp_path)
    assert served.ask("/api/studies")[0].status == 200
    served.check_it_ends_on(signal.SIGINT)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("guarded")
    new_study(directory)
    started = start(directory, "-r", host="0.0.0.0", TUNER_DASHBOARD_TOKEN=TOKEN)
    yield started
    started.end()


def test_other_addresses_ask_for_the_token(guarded: Served) -> None:
    assert "token" not in guarded.address  # who set it knows it
    response, body = guarded.ask("/api/studies")
    assert response.status == 401
    assert b"digits" not in body
    response, body = guarded.ask("/api/studies", Authorization=f"Bearer {TOKEN}")
    assert b"digits" in body
    assert guarded.ask("/healthz")[0].status == 200


def test_read_only_keeps_the_study(guarded: Served) -> None:
    known = {"Authorization": f"Bearer {TOKEN}"}
    response, body = guarded.ask("/api/studies/1", "DELETE", **known)
    assert response.status == 405
    assert "read-only" in json.loads(body)["reason"]
    assert b"digits" in guarded.ask("/api/studies", **known)[1]


def test_a_proxy_may_say_by_what_name_and_scheme_it_was_asked(guarded: Served) -> None:
    known = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://tuner.example"}
    proxy = {"X-Forwarded-Host": "tuner.example", "X-Forwarded-Proto": "https"}
    assert guarded.ask("/api/studies/1", "DELETE", **known)[0].status == 403
    assert guarded.ask("/api/studies/1", "DELETE", **known, **proxy)[0].status == 405
    response, _ = guarded.ask(f"/?token={quote(TOKEN)}", **proxy)
    assert "; Secure" in response.headers["Set-Cookie"]


def test_a_token_is_made_where_none_is_set_and_shown_once(tmp_path: Path) -> None:
    new_study(tmp_path)
    served = start(tmp_path, host="0.0.0.0")
    query = urlsplit(served.address).query
    assert len(query) == len("token=") + 48
    assert served.ask("/api/studies")[0].status == 401
    cookie = served.ask(f"/?{query}")[0].headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith(f"tuner-dashboard-{served.port}=")
    assert served.ask("/api/studies", Cookie=cookie)[0].status == 200
    served.check_it_ends_on(signal.SIGTERM)


def asked(tmp_path: Path, **options: Any) -> server.Access:
    chosen = {"host": "127.0.0.1", "port": 1, "token_file": None, "login": False}
    return server.access(**{**chosen, "read_only": False, "environ": {}, **options})


def test_this_machine_alone_needs_no_token_but_may_ask_for_one(tmp_path: Path) -> None:
    assert asked(tmp_path).token is None
    assert asked(tmp_path, host="::1").token is None
    assert asked(tmp_path, login=True).generated
    assert asked(tmp_path, environ={DASHBOARD_TOKEN: TOKEN}).token == TOKEN
    first, second = asked(tmp_path, host="10.0.0.1"), asked(tmp_path, host="example.org")
    assert first.token != second.token


def test_a_token_file_wins_over_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    found = asked(tmp_path, host="::", token_file=path, environ={DASHBOARD_TOKEN: "x" * 40})
    assert (found.token, found.generated) == (TOKEN, False)


@pytest.mark.parametrize("text", [None, b"", b"short", b"two lines of it\nare too many", b"\xff"])
def test_a_token_that_cannot_serve_is_refused_and_not_shown(
    tmp_path: Path, text: bytes | None
) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(TunerError, match=r"--token-file .*token") as caught:
        asked(tmp_path, token_file=path)
    assert "short" not in str(caught.value)


def test_no_address_of_others_is_served_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        server.serve("sqlite://", tmp_path, server.Access(host="0.0.0.0"))


def test_a_port_in_use_is_said_with_the_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            TunerError, match=rf"port {port}: Address already in use; hint: .*--port"
        ):
            server.serve("sqlite://", tmp_path, server.Access(port=port))


@pytest.mark.parametrize("port", [-1, 70000])
def test_an_impossible_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(TunerError, match="cannot listen"):
        server.serve("sqlite://", tmp_path, server.Access(port=port))
