"""Roles of a database, with the statements and the privileges that docs/security.md lists."""

import re
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from tests.conftest import Project
from tuner.errors import StorageError
from tuner.storage import database

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TUNE = ("study.n_trials=2", "launch.workers=1", "objective.epochs=1")


@pytest.fixture(scope="module")
def team(postgresql: str) -> URL:
    """The database of a team on a server on which nobody else may create tables."""
    roles, tables = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    server = make_url(postgresql)
    mine = server.set(database="vision", username="vision")
    for url, statements in ((server, roles), (mine, tables)):
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            for statement in filter(str.strip, statements.split(";")):
                connection.execute(statement)
    return mine


def as_role(url: URL, role: str) -> str:
    return url.set(username=role).render_as_string(hide_password=False)


def test_a_role_that_may_only_read_sees_everything_and_changes_nothing(
    project: Project, team: URL
) -> None:
    project.call("tune", *TUNE, TUNER_STORAGE_URL=as_role(team, "vision"))
    reader = {"TUNER_STORAGE_URL": as_role(team, "reader")}
    for command in (
        ["status", "toy"], ["status", "--all"], ["best", "toy"], ["trials", "toy"],
        ["trial", "0", "toy"], ["report", "toy", "--format", "md"], ["study", "list"],
    ):  # fmt: skip
        assert project.ask(*command, **reader), command
    project.call("tune", "study.n_trials=4", "launch.workers=1", code=1, **reader)
    refusal = "the database rejected a request: permission denied for table"
    assert refusal in project.stderr
    assert "hint: grant the role the privileges that docs/security.md lists" in project.stderr
    project.ask("study", "delete", "toy", "--yes", code=1, **reader)
    assert refusal in project.stderr
    assert "2 complete" in project.ask("status", "toy", **reader)


def test_a_role_that_may_not_create_tables_is_told_so(postgresql: str, team: URL) -> None:
    plain = make_url(postgresql).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty OWNER vision")
    with pytest.raises(StorageError) as caught:
        database.connect(as_role(team.set(database="empty"), "reader"))
    (mistake,) = caught.value.mistakes
    assert mistake.key == "storage.url"
    assert "privileges" in mistake.hint
