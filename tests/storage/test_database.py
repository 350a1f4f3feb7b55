"""Database connections: few, none idle in a transaction, and replaced when lost."""

import random
import re
import subprocess
import sys
import time
from collections import Counter

import optuna
import psycopg
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from tests import servers, standby
from tests.chaos import backends
from tests.conftest import Project, wait_for
from tests.launched import WAITS, new_database, read_until
from tuner.storage import database
from tuner.study import study
from tuner.study.attempts import HISTORY

pytestmark = pytest.mark.slow


def start(project: Project, url: str, *more: str) -> subprocess.Popen[str]:
    """A worker whose trials wait, before their third epoch, for a file named `go`."""
    (project.directory / "toy.py").write_text(WAITS)
    args = ["study.n_trials=3", "worker.grace=60", "storage.patience=60", *more]
    return project.start("worker", *args, TUNER_STORAGE_URL=url)


def epochs_begun(project: Project, epoch: int) -> int:
    return sum(found == epoch for _, found, _ in project.journal())


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_worker_holds_few_connections_and_none_within_a_transaction(
    project, postgresql, concurrency
):
    url = new_database(postgresql)
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    query = (
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    worker = start(project, url, f"worker.concurrency={concurrency}", "worker.heartbeat=0.1")
    most = 0
    with psycopg.connect(plain, autocommit=True) as connection:

        def look() -> list[str]:
            nonlocal most
            states = [state for (state,) in connection.execute(query).fetchall()]
            most = max(most, len(states))
            return states

        wait_for(lambda: look() and epochs_begun(project, 2) == concurrency)
        for _ in range(
            10
        ):  # all trials wait; hearts may beat at once, but give back what they took
            wait_for(lambda: len(look()) <= database.KEPT)
            time.sleep(0.05)
        wait_for(lambda: "idle in transaction" not in look())
        (project.directory / "go").touch()
        wait_for(lambda: not look() or worker.poll() is not None)
    _, err = worker.communicate(timeout=280)
    assert worker.returncode == 0, err
    assert 0 < most <= database.KEPT + database.MORE


def check_nothing_was_lost(project: Project, url: str, worker: subprocess.Popen[str]) -> str:
    (project.directory / "go").touch()
    _, err = worker.communicate(timeout=280)
    assert worker.returncode == 0, err
    opened = study.load(url, "toy", grace=60, patience=30)
    trials = opened.optuna.get_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 3
    assert not [t for t in trials if HISTORY in t.system_attrs]
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4] for t in trials)
    runs = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert set(runs.values()) == {1}
    assert opened.workers() == []
    return err


def test_a_postgresql_that_is_restarted_costs_no_trial_and_no_report(project):
    with backends.postgresql() as backend:
        worker = start(project, backend.url, "worker.heartbeat=0.3")
        wait_for(lambda: epochs_begun(project, 2) == 1)
        backend.restart("fast", random.Random(1))
        check_nothing_was_lost(project, backend.url, worker)


def test_a_standby_that_is_promoted_costs_no_trial_and_no_report(project):
    with standby.pair() as pair:
        worker = start(project, pair.url, "worker.heartbeat=0.3")
        wait_for(lambda: epochs_begun(project, 2) == 1)
        pair.lose()
        said = read_until(worker, "the database is unavailable: ")
        pair.promote()
        said += read_until(worker, "the database is available again after ")
        err = check_nothing_was_lost(project, pair.url, worker)
    assert "Traceback" not in said + err
    reasons = re.findall("the database is unavailable: (.*)", said + err)
    assert len(set(reasons)) == len(reasons), "each is told once"


def test_a_postgresql_that_takes_no_writes_for_a_while_costs_no_trial_and_no_report(project):
    with backends.postgresql() as backend:
        worker = start(project, backend.url, "worker.heartbeat=0.3")
        wait_for(lambda: epochs_begun(project, 2) == 1)
        with backend.read_only():
            (project.directory / "go").touch()
            said = read_until(worker, "the database is unavailable: cannot execute ")
        said += read_until(worker, "the database is available again after ")
        check_nothing_was_lost(project, backend.url, worker)
    assert said.count("the database is unavailable") == 1


def test_a_right_that_is_taken_away_fails_no_configuration(project):
    with backends.postgresql() as backend:
        worker = start(project, backend.url)
        wait_for(lambda: epochs_begun(project, 2) == 1)
        with backend.revoked("INSERT", "trial_intermediate_values"):
            (project.directory / "go").touch()
            read_until(worker, "the database is unavailable: permission denied for table")
        read_until(worker, "the database is available again after ")
        check_nothing_was_lost(project, backend.url, worker)


def test_a_mariadb_that_is_restarted_costs_no_trial_and_no_report(project):
    with servers.mariadb_server() as server:
        worker = start(project, server.url, "worker.heartbeat=0.3")
        wait_for(lambda: epochs_begun(project, 2) == 1)
        server.stop()
        server.start()
        check_nothing_was_lost(project, server.url, worker)


LOOK_AND_LEAVE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT 1 FROM studies")
connection.close()
"""


def test_a_second_connection_leaves_the_first_its_locks(tmp_path):
    """Where they are dropped, another process takes itself for the last and removes the log."""
    url = f"sqlite:///{tmp_path}/x.db"
    first = database.connect(url).engine.connect()
    first.execute(sa.text("INSERT INTO studies (study_name) VALUES ('kept')"))
    first.commit()
    first.execute(sa.text("SELECT 1 FROM studies"))
    database.connect(url)
    subprocess.run([sys.executable, "-c", LOOK_AND_LEAVE, tmp_path / "x.db"], check=True)
    assert (tmp_path / "x.db-wal").exists()
    first.close()


def test_a_url_of_mariadb_is_served_as_one_of_mysql(mariadb):
    """SQLAlchemy has a dialect of each name; Optuna and our statements know mysql."""
    rdb = database.connect(mariadb.replace("mysql", "mariadb", 1))
    study = optuna.create_study(storage=rdb)
    trial = study.ask()
    trial.set_user_attr("worker", "here")
    trial.report(0.5, step=1)
    study.tell(trial, 0.5)
    assert study.best_trial.user_attrs == {"worker": "here"}
    rdb.close()
