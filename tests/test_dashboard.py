"""A real dashboard process, asked over HTTP."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.samples import new_study
from tests.test_artifacts import running
from tuner.artifacts import attach, open_store
from tuner.errors import TunerError
from tuner.report import dashboard

SERVE = """
import sys
from pathlib import Path
from tuner.report.dashboard import serve
serve(sys.argv[1], Path(sys.argv[2]), port=0, ready=lambda url: print(url, flush=True))
print("left", flush=True)
"""


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int

    def get(self, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read()

    def json(self, path: str) -> Any:
        response, body = self.get(path)
        assert response.status == 200
        return json.loads(body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    study = new_study(directory)
    trial, run_dir = running(study, directory)
    attach(study, trial, run_dir, open_store(directory / "artifacts"))
    study.tell(trial, 0.75)
    url = f"sqlite:///{directory}/a b.db"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, url, str(directory / "artifacts")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    yield Served(process, int(address.rstrip("/").rpartition(":")[2]))
    process.kill()
    process.communicate()


def test_it_shows_the_study_with_its_note_and_curve(served: Served) -> None:
    (study,) = served.json("/api/studies")["study_summaries"]
    assert study["study_name"] == "digits"
    detail = served.json(f"/api/studies/{study['study_id']}?after=0")
    (trial,) = detail["trials"]
    assert "tuner train \\\n  optimizer=sgd" in trial["note"]["body"]
    assert [point["value"] for point in trial["intermediate_values"]] == [0.25, 0.5, 0.75]
    assert sorted(a["filename"] for a in trial["artifacts"]) == [
        "confusion.svg",
        "learning_curve.svg",
    ]


def test_an_artifact_opens_as_an_image_that_cannot_run_scripts(served: Served) -> None:
    (study,) = served.json("/api/studies")["study_summaries"]
    detail = served.json(f"/api/studies/{study['study_id']}?after=0")
    trial = detail["trials"][0]
    for artifact in trial["artifacts"]:
        path = f"/artifacts/{study['study_id']}/{trial['trial_id']}/{artifact['artifact_id']}"
        response, body = served.get(path)
        assert (response.status, response.headers["Content-Type"]) == (200, "image/svg+xml")
        assert response.headers["Content-Security-Policy"] == "sandbox"
        assert b"<svg" in body


def test_the_page_itself_is_served(served: Served) -> None:
    response, body = served.get("/dashboard/")
    assert response.status == 200
    assert b"bundle.js" in body


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:1", "LOCALHOST"])
def test_it_answers_to_the_names_of_this_machine(served: Served, host: str) -> None:
    assert served.get("/api/studies", Host=host)[0].status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_elsewhere_cannot_reach_it_by_its_own_name(served: Served, host: str) -> None:
    assert served.get("/api/studies", Host=host)[0].status == 403


def test_sigint_ends_it_cleanly_and_quietly(tmp_path: Path) -> None:
    new_study(tmp_path)
    url = f"sqlite:///{tmp_path}/a b.db"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, url, str(tmp_path / "artifacts")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    served = Served(process, int(process.stdout.readline().strip("/\n").rpartition(":")[2]))
    assert served.get("/api/studies")[0].status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "left\n", "")


def test_a_port_in_use_is_said_with_the_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            TunerError, match=rf"port {port}: Address already in use\nhint: .*--port"
        ):
            dashboard.serve("sqlite://", tmp_path, port=port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_an_impossible_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(TunerError, match="cannot listen"):
        dashboard.serve("sqlite://", tmp_path, port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.org", ""])
def test_strangers_are_not_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(TunerError, match="this machine alone"):
        dashboard.serve("sqlite://", tmp_path, host=host)
