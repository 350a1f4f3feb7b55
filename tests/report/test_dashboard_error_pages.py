"""Bad input causes one error with a hint, an exit code, and no partial results."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.conftest import Project
from tests.launched import new_database
from tuner.storage import database as storage


@pytest.fixture
def refused(project: Project):
    """Runs a command that must fail; the files that were there before are all that are there."""

    def files() -> list[str]:
        passing = ("__pycache__", ".pyc", "-shm", "-wal")  # SQLite's, while it is open
        return sorted(p for p in map(str, project.directory.rglob("*")) if not p.endswith(passing))

    def run(*overrides: str, code: int, command: str = "tune") -> str:
        before = files()
        project.call(command, *overrides, code=code)
        said = project.stderr
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, said
        assert "hint: " in said
        assert "Traceback" not in said
        assert files() == before
        return said

    return run


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("storage.url=nonsense", 2, "not a database URL"),
        ("storage.url='postgresql://h:port/db'", 2, "not a database URL"),
        ("storage.url='postgrsql://h/db'", 2, "of the kind 'postgrsql' is known; hint: "),
        ("storage.url='mysql://h/db'", 2, "and mysql+pymysql://… as the URL"),
        ("storage.url='oracle://h/db'", 2, "no driver for oracle://h/db"),
        ("storage.url='postgresql+psycopg://127.0.0.1:1/db'", 2, "Connection refused"),
        ("storage.url='postgresql+psycopg://no.such.host.invalid/db'", 2, "cannot open"),
        ("storage.url='mysql+pymysql://127.0.0.1:1/db'", 2, "cannot open"),
        ("storage.url='sqlite:////proc/nowhere/x.db'", 2, "cannot be written to"),
        ("storage.url='sqlite:///toy.py/x.db'", 2, "toy.py is a file, expected a directory"),
        ("storage.artifacts=/proc/nowhere", 2, "cannot be written to"),
        ("study.dir=/proc/nowhere", 2, "cannot be written to"),
        ("study.dir=toy.py", 2, "toy.py is a file, expected a directory"),
        ("study.dir=toy.py/below", 2, "toy.py is a file, expected a directory"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_made(refused, override, code, words):
    assert words in refused(override, code=code)


@pytest.mark.parametrize("command", ["tune", "status"])
def test_a_directory_is_no_database(refused, project, command):
    (project.directory / "there").mkdir()
    assert "there is a directory; hint: name a file in it" in refused(
        "storage.url=sqlite:///there", code=2, command=command
    )


@pytest.mark.parametrize("command", ["tune", "status"])
def test_a_file_that_is_no_database(refused, project, command):
    (project.directory / "notes.txt").write_text("what somebody wrote down")
    assert "notes.txt is not a SQLite database" in refused(
        "storage.url=sqlite:///notes.txt", code=2, command=command
    )


@pytest.mark.parametrize("command", ["tune", "status"])
def test_a_damaged_database(refused, project, command):
    path = project.directory / "runs" / "tuner.db"
    path.parent.mkdir()
    storage.connect(f"sqlite:///{path}").close()
    path.write_bytes(path.read_bytes()[:20_000])
    said = refused(code=2, command=command)
    assert "disk image is malformed; hint: the file is damaged: restore a backup" in said


@pytest.mark.parametrize("command", ["status", "best", "report", "dashboard"])
@pytest.mark.parametrize("statement", [None, "CREATE TABLE notes (id INTEGER)"])
def test_who_only_looks_makes_no_database_of_a_file(refused, project, command, statement):
    path = project.directory / "other.db"
    path.touch()
    if statement is not None:
        with closing(sqlite3.connect(path)) as other:
            other.execute(statement)
    before = path.read_bytes()
    said = refused("storage.url=sqlite:///other.db", code=2, command=command)
    assert "other.db holds no study; hint: tuner tune makes one" in said
    assert path.read_bytes() == before


def test_a_wrong_password(refused, postgresql):
    url = make_url(new_database(postgresql))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    wrong = url.set(username="locked", password="wrong").render_as_string(hide_password=False)
    said = refused("storage=postgresql", f"storage.url='{wrong}'", code=2)
    assert "password authentication failed" in said
    assert "wrong" not in said


@pytest.mark.parametrize(
    ("revision", "cure"),
    [("v1.3.0.a", "optuna storage upgrade"), ("v99.0.0.a", "pip install --upgrade optuna")],
)
def test_a_database_of_another_optuna(refused, project, revision, cure):
    project.call("worker", "study.n_trials=1")
    with sqlite3.connect(project.directory / "runs/tuner.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
    assert cure in refused("study.n_trials=2", code=2)
    assert cure in refused(code=2, command="status")


def test_a_study_of_another_metric_or_direction(refused, project):
    project.call("worker", "study.n_trials=1")
    said = refused("study.metric=loss", "study.direction=minimize", code=2)
    assert "study.metric: stored 'accuracy', requested 'loss'" in said
    assert "study.direction: stored 'maximize', requested 'minimize'" in said


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, whoever writes it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(project):
    with full_disk():
        project.call("tune", code=2)
    said = project.stderr
    assert "disk" in said
    assert "hint: " in said
    assert "Traceback" not in said
    project.call("worker", "study.n_trials=1")


def test_a_launcher_whose_engine_is_not_there(refused, postgresql, monkeypatch):
    database = ["storage=postgresql", f"storage.url='{new_database(postgresql)}'"]
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "/nonexistent")
        said = refused(*database, "launch=slurm", code=2)
    assert "launch=slurm: sbatch, squeue, scancel not found" in said
    assert "SQLite file can be used on one machine only" in refused("launch=slurm", code=2)


def test_a_ray_cluster_that_is_not_there(refused, postgresql):
    pytest.importorskip("ray")
    database = ["storage=postgresql", f"storage.url='{new_database(postgresql)}'"]
    said = refused(*database, "launch=ray", "launch.address=127.0.0.1:1", code=2)
    assert "no Ray cluster answers at 127.0.0.1:1" in said
