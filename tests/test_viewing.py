"""A database that cannot be written to can be looked at, and is left as it was."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from tests.conftest import Project
from tuner import storage, study
from tuner.errors import StorageError
from tuner.sql import viewing

ROOT = os.getuid() == 0
DROPPED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root may write anywhere; without these capabilities it may what the permissions say."""

pytestmark = pytest.mark.skipif(
    ROOT and shutil.which("setpriv") is None, reason="root, and no setpriv of util-linux"
)


def ask(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The real command, as somebody whom permissions bind."""
    bound = DROPPED if ROOT else ()
    return subprocess.run(
        [*bound, sys.executable, "-m", "tuner", *words],
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def sealed(project: Project) -> Iterator[Project]:
    """A project whose search has ended, in directories that cannot be written to."""
    project.run("tune", "study.n_trials=3", "launch.workers=1")
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
    assert "3 complete" in ask(sealed.directory, "status", *where).stdout
    assert "3 complete" in ask(sealed.directory, "status", "--all", *where).stdout
    assert re.match(r"#\d: accuracy", ask(sealed.directory, "best", *where).stdout)
    page = tmp_path / "page.html"
    assert ask(sealed.directory, "report", f"--output={page}", *where).stdout == f"{page}\n"
    assert page.stat().st_size > 1e6
    assert sorted(path.name for path in runs.iterdir()) == before


def test_commands_that_write_say_that_they_cannot(sealed: Project, tmp_path: Path) -> None:
    elsewhere = [f"study.dir={tmp_path}/s", f"storage.artifacts={tmp_path}/a"]
    where = [*Project.DEFAULTS, *elsewhere]
    for words in (["tune", "study.n_trials=9"], ["worker", "study.n_trials=9"], ["dashboard"]):
        found = ask(sealed.directory, *words, *where)
        assert found.returncode == 2, found
        assert re.match(r"error: storage\.url: .*/runs cannot be written to; hint: ", found.stderr)
    for command, key in (("report", "--output"), ("export", "--output"), ("final", "study.dir")):
        found = ask(sealed.directory, command, *Project.DEFAULTS)
        assert found.returncode == 2
        assert re.match(rf"error: {key}: .* cannot be written to \(", found.stderr), found


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with a study, which nobody has open, in a directory that is closed to us."""
    with closing(storage.connect(f"sqlite:///{tmp_path}/x.db")) as made:
        optuna.create_study(study_name="digits", storage=made)
    monkeypatch.setattr(viewing, "obstacle", lambda path: path.parent)
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
        storage.connect(f"sqlite:///{locked}", write=False)


def test_the_dashboard_shows_it(sealed: Project) -> None:
    bound = DROPPED if ROOT else ()
    words = [*bound, sys.executable, "-m", "tuner", "dashboard", "--read-only", "--port=0"]
    with subprocess.Popen(
        [*words, *Project.DEFAULTS], cwd=sealed.directory, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = re.search(r"http://\S+", process.stderr.readline())
        assert address is not None
        with urllib.request.urlopen(f"{address[0]}api/studies", timeout=30) as answer:
            assert '"study_name": "toy"' in answer.read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
