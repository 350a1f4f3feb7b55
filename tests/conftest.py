"""Fixtures: a user's project in a temporary directory, and the real command line run in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from hypothesis import settings
from optuna.storages._rdb.storage import _VersionManager

from tests import composed, inside, servers, toy, warm
from tests.inside import connections_closed, logging_restored
from tuner.config import composition
from tuner.config.composition import Source
from tuner.study import study

settings.register_profile(
    "suite", derandomize=not os.environ.get("TUNER_FUZZ"), database=None, print_blob=True
)
settings.load_profile("suite")  # the same examples in each run, unless `make fuzz` looks for others

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or what tests start ignores it too


def wait_for(condition: Callable[[], object], seconds: float = 280) -> None:
    """Until the condition holds: the limit is that of a test, for a machine that does much else."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the group of each test, by which ``--dist loadgroup`` keeps it in one process.

    pytest-xdist 3.8 sets an attribute that pytest 9.2 no longer reads.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        for mark in item.iter_markers("xdist_group"):
            if not item.nodeid.endswith(f"@{mark.args[0]}"):
                item._id = type(item._id).parse(f"{item.nodeid}@{mark.args[0]}")


@dataclass
class Project:
    """A directory of a user's with an objective `toy` and its space."""

    directory: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    DEFAULTS = toy.DEFAULTS

    def start(self, command: str, *args: str, **env: str) -> subprocess.Popen[str]:
        """Start the real command in the directory, in a process that need not import it anew."""
        process = warm.Popen(
            [*warm.COMMAND, command, *self.DEFAULTS, *args],
            cwd=self.directory,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, command: str, *args: str, code: int = 0, **env: str) -> str:
        """Run the real command to its end; returns what it wrote to stdout."""
        process = self.start(command, *args, **env)
        out, err = process.communicate(timeout=280)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        self.stderr = err
        return out

    def call(self, command: str, *args: str, code: int = 0, **env: str) -> str:
        """As ``run``, in this process; the workers of ``tune`` are processes all the same."""
        return self.ask(command, *self.DEFAULTS, *args, code=code, **env)

    def ask(self, *words: str, code: int = 0, **env: str) -> str:
        """Run a command line as it is in this process; returns what it wrote to stdout."""
        said = inside.run(words, self.directory, {"NO_COLOR": "1", "COLUMNS": "120", **env})
        assert said.code == code, f"exit {said.code}\n{said.out}\n{said.err}"
        self.stderr = said.err
        return said.out

    def wait_until_held(self, trials: int = 1) -> None:
        """Until so many trials with ``objective.fate=wait`` have come to their third epoch."""
        wait_for(lambda: len([*self.directory.rglob("held")]) == trials)

    def go(self) -> None:
        """Let those that wait go on."""
        (self.directory / "go").touch()

    def study(self, grace: float = 60) -> study.Study:
        url = f"sqlite:///{self.directory}/runs/tuner.db"
        return study.load(url, "toy", grace=grace, patience=5)

    def journal(self) -> list[tuple[str, int, int]]:
        """(configuration, epoch, process) in the order in which they were run."""
        path = self.directory / "journal.txt"
        lines = path.read_text().split("\n") if path.exists() else []
        parts = [line.split() for line in lines if line]
        return [(name, int(epoch), int(pid)) for name, epoch, pid in parts]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections of every storage that a test opens; restore the log and ``TUNER_*``.

    Commands that run in this process set such variables for the rest of a process of their own.
    """
    before = {name: text for name, text in os.environ.items() if name.startswith("TUNER_")}
    with connections_closed(monkeypatch), logging_restored():
        yield
    for name in [name for name in os.environ if name.startswith("TUNER_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _once_a_process() -> Iterator[None]:
    """Tests share what depends on files alone: configurations, and Optuna's schema versions.

    Hydra composes a configuration in 0.1 s, and Alembic loads its scripts twice for a new database.
    """
    read, scripts = _VersionManager._create_alembic_script, list[ScriptDirectory]()

    def read_once(manager: _VersionManager) -> ScriptDirectory:
        scripts[:] = scripts or [read(manager)]
        return scripts[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "_composed", composed.once)
        patch.setattr(_VersionManager, "_create_alembic_script", read_once)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    with servers.mariadb() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a directory/study.db"
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    directory = tmp_path / "a project"
    for name, text in toy.CONF.items():
        path = directory / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "toy.py").write_text(toy.OBJECTIVE)
    made = Project(directory)
    yield made
    sys.modules.pop("toy", None)  # the next project has one of its own
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def source() -> Source:
    return Source()
