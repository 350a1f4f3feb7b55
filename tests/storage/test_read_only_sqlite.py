"""A database that cannot be written to can be read, and is not changed."""

import ctypes
import http.client
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import optuna
import pytest
import sqlalchemy as sa

from tests import inside
from tests.conftest import Project
from tuner.errors import StorageError
from tuner.report.dashboard import server
from tuner.storage import database, read_only_sqlite
from tuner.study import study

DAC = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which root may write anywhere."""
NO_FIXUP = 0b100
"""Of the securebits: access(2) goes by the capabilities that root has, not by those it may have."""


@contextmanager
def bound() -> Iterator[None]:
    """What this thread does, and those that it starts, is bound by permissions, root's too."""
    if os.getuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    before = data[0]

    def become(capabilities: int, securebits: int) -> bool:
        data[0] = capabilities
        PR_SET_SECUREBITS = 28
        return not (libc.prctl(PR_SET_SECUREBITS, securebits, 0, 0, 0) or libc.capset(header, data))

    if not become(before & ~DAC, NO_FIXUP):
        pytest.skip("root, and its capabilities cannot be dropped")
    try:
        yield
    finally:
        assert become(before, 0)


def ask(directory: Path, *words: str) -> inside.Said:
    """A command, as somebody whom permissions bind."""
    with bound():
        return inside.run(words, directory, {"NO_COLOR": "1", "COLUMNS": "160"})


@pytest.fixture
def sealed(project: Project) -> Iterator[Project]:
    """A project whose search has ended, in directories that cannot be written to."""
    project.call("worker", "study.n_trials=3")
    runs = project.directory / "runs"
    closed = [runs, runs / "toy"]
    for directory in closed:
        directory.chmod(0o555)
    yield project
    for directory in closed:
        directory.chmod(0o755)


def test_a_study_is_looked_at_where_nothing_can_be_written(sealed: Project, tmp_path: Path) -> None:
    runs = sealed.directory / "runs"
    before = sorted(path.name for path in runs.iterdir())
    where = Project.DEFAULTS
    assert "3 complete" in ask(sealed.directory, "status", *where).out
    assert "3 complete" in ask(sealed.directory, "status", "--all", *where).out
    assert re.match(r"#\d: accuracy", ask(sealed.directory, "best", *where).out)
    page = tmp_path / "page.html"
    assert ask(sealed.directory, "report", f"--output={page}", *where).out == f"{page}\n"
    assert page.stat().st_size > 1e6
    assert sorted(path.name for path in runs.iterdir()) == before


def test_commands_that_write_say_that_they_cannot(sealed: Project, tmp_path: Path) -> None:
    elsewhere = [f"study.dir={tmp_path}/s", f"storage.artifacts={tmp_path}/a"]
    where = [*Project.DEFAULTS, *elsewhere]
    for words in (["tune", "study.n_trials=9"], ["worker", "study.n_trials=9"], ["dashboard"]):
        found = ask(sealed.directory, *words, *where)
        assert found.code == 2, found
        assert re.search(
            r"^error: storage\.url: .*/runs cannot be written to; hint: ", found.err, re.M
        )
    for command, key in (("report", "--output"), ("export", "--output"), ("final", "study.dir")):
        found = ask(sealed.directory, command, *Project.DEFAULTS)
        assert found.code == 2
        assert re.search(rf"^error: {key}: .* cannot be written to \(", found.err, re.M), found


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a study, which nobody has open, in a directory that is closed to us."""
    with closing(database.connect(f"sqlite:///{tmp_path}/x.db")) as made:
        optuna.create_study(study_name="digits", storage=made)
    monkeypatch.setattr(read_only_sqlite, "obstacle", lambda path: path.parent)
    return tmp_path / "x.db"


def test_what_others_write_meanwhile_is_seen(locked: Path) -> None:
    url = f"sqlite:///{locked}"
    seen = study.load(url, "digits", grace=60, patience=1)
    assert seen.workers() == []
    assert seen.times().hours == 0
    with closing(sa.create_engine(url).connect()) as writer:
        writer.exec_driver_sql("INSERT INTO studies (study_name) VALUES ('another')")
        writer.commit()
        assert study.names(seen.storage) == ["digits", "another"]
    assert study.names(seen.storage) == ["digits", "another"]
    with pytest.raises(sa.exc.OperationalError, match="readonly"), seen.storage.engine.begin() as c:
        c.exec_driver_sql("INSERT INTO studies (study_name) VALUES ('a third')")


def test_a_log_without_its_index_is_not_passed_over(locked: Path) -> None:
    Path(f"{locked}-wal").write_bytes(b"the last trials")
    with pytest.raises(StorageError, match=r"lacks what x\.db-wal holds.*; hint: copy both"):
        database.connect(f"sqlite:///{locked}", write=False)


def test_the_dashboard_shows_it(sealed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also closes the connections of browsers when it stops."""
    found, connected = [], []

    def look(address: str) -> None:
        try:
            browser = http.client.HTTPConnection(urlsplit(address).netloc, timeout=280)
            connected.append(browser)
            browser.request("GET", "/api/studies")
            found.append(browser.getresponse().read().decode())
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # ends it as Ctrl-C does

    def announced(address: str) -> None:
        threading.Thread(target=look, args=(address,)).start()

    monkeypatch.setattr(server, "_announce", announced)
    said = ask(sealed.directory, "dashboard", "--read-only", "--port=0", *Project.DEFAULTS)
    with closing(connected[0]) as browser:
        assert browser.sock.recv(1) == b""
    assert said.code == 0
    assert '"study_name": "toy"' in found[0]
