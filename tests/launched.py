"""A real ``tuner tune`` on PostgreSQL whose trials wait until the test releases them."""

import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import psycopg
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from tests.conftest import Project, wait_for
from tuner.study import study
from tuner.study.attempts import HISTORY, REQUEUE
from tuner.study.study import Study

WAITS = '''
import os
import time
from pathlib import Path


def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *,
          run_dir: Path, report) -> float:
    """Waits before its third epoch until somebody makes a file."""
    saved = run_dir / "epoch"
    done = int(saved.read_text()) if saved.exists() else 0
    if done:
        report(done, accuracy=x)
    for epoch in range(done + 1, epochs + 1):
        while epoch == 3 and not Path("go").exists():
            time.sleep(0.05)
            report.poll()
        with open("journal.txt", "a") as journal:
            journal.write(f"{run_dir.name} {epoch} {os.getpid()}\\n")
        saved.with_suffix(".tmp").write_text(str(epoch))
        saved.with_suffix(".tmp").rename(saved)
        report(epoch, accuracy=x)
    return x
'''


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a command logs, up to a line with ``text``."""
    said = ""
    while text not in said:
        line = process.stderr.readline() if process.stderr else ""
        assert line, f"ended without {text!r}:\n{said}"
        said += line
    return said


def new_database(server: str) -> str:
    """The URL of a new database on a PostgreSQL server."""
    name = f"t{uuid.uuid4().hex}"
    url = make_url(server)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.set(database=name).render_as_string(hide_password=False)


@dataclass
class Run:
    """A study of four configurations and two workers."""

    project: Project
    url: str
    args: list[str]
    env: dict[str, str]

    def tune(self, *args: str) -> subprocess.Popen[str]:
        """Start ``tuner tune`` on it; once, or again to go on."""
        return self.start("tune", *args)

    def start(self, command: str, *args: str) -> subprocess.Popen[str]:
        """Start a command on it."""
        (self.project.directory / "toy.py").write_text(WAITS)
        args = ("storage=postgresql", "study.n_trials=4", "launch.workers=2", *self.args, *args)
        return self.project.start(command, *args, TUNER_STORAGE_URL=self.url, **self.env)

    def wait_until_at_work(self) -> None:
        """Both workers are in a trial that waits."""
        wait_for(lambda: sum(epoch == 2 for _, epoch, _ in self.project.journal()) == 2)

    def wait_until(self, condition: Callable[[], object], *running: subprocess.Popen[str]) -> None:
        """Wait, but not for what a command that has ended can no longer bring about."""

        def met() -> object:
            for process in running:
                assert process.poll() is None, process.communicate()
            return condition()

        wait_for(met)

    def go(self) -> None:
        """Let the trials run to their ends."""
        (self.project.directory / "go").touch()

    @cached_property
    def study(self) -> Study:
        return study.load(self.url, "toy", grace=60, patience=5)

    def at_work(self) -> set[str]:
        """The ids of live workers that have a trial."""
        return {w.id for w in self.study.workers() if w.alive and w.trial_id is not None}

    def log(self, k: int) -> str:
        return (self.project.directory / f"runs/toy/logs/worker-{k}.log").read_text()

    def assert_whole(self, *, retried: int) -> None:
        """Exactly the budget, no epoch run twice, nobody left."""
        self.assert_finished(retried=retried)
        journal = [(name, epoch) for name, epoch, _ in self.project.journal()]
        assert len(set(journal)) == len(journal) == 16, "each went on from its checkpoint"

    def assert_finished(self, *, retried: int) -> None:
        """Exactly the budget, every epoch reported, nobody left."""
        trials = self.study.optuna.get_trials()
        last = [t for t in trials if REQUEUE not in t.system_attrs]
        assert [t.state for t in last] == [TrialState.COMPLETE] * 4
        assert all(sorted(t.intermediate_values) == [1, 2, 3, 4] for t in last)
        assert len([t for t in last if HISTORY in t.system_attrs]) == retried
        assert self.study.workers() == []
