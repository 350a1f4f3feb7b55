"""Commands forked from a warm process, or run in the test's, behave like real ones."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests import inside, warm
from tests.conftest import Project
from tuner.log import log

TELLS = """
import json, os, sys

def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):
    mine = {
        "argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ), "parent": os.getppid(),
        "leads": os.getsid(0) == os.getpid(), "torch": "torch" in sys.modules,
        "forked": getattr(sys.modules["__main__"].__spec__, "name", None) == "tests.warm",
    }
    with open("told.txt", "a") as file:
        file.write(json.dumps(mine) + "\\n")
    print("on stdout", flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    report(1, accuracy=x)
    return x
"""


@pytest.fixture
def telling(project: Project) -> Project:
    (project.directory / "toy.py").write_text(TELLS)
    return project


def told(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.directory / "told.txt").read_text().splitlines()]


def test_a_fork_has_a_place_an_environment_and_output_of_its_own(telling: Project) -> None:
    words = ["train", *Project.DEFAULTS]
    environment = {"PATH": os.environ["PATH"], "ONLY": "this"}
    process = warm.Popen(
        [*warm.COMMAND, *words], cwd=telling.directory, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert out.startswith("on stdout\n")
    assert "on stderr\n" in err
    (mine,) = told(telling)
    assert mine["forked"]
    assert mine["argv"] == ["tuner", *words]
    assert mine["cwd"] == str(telling.directory)
    assert mine["environ"].items() >= environment.items()
    assert "HOME" not in mine["environ"]
    assert mine["parent"] == os.getpid()
    assert not mine["torch"]


def test_a_fork_exits_and_dies_as_any_process(project: Project) -> None:
    process = project.start("tunes")
    _, err = process.communicate(timeout=280)
    assert (process.returncode, "command 'tunes'" in err) == (2, True)
    process = project.start("worker", "objective.fate=wait")
    project.wait_until_held()
    assert {pid for _, _, pid in project.journal()} == {process.pid}
    process.send_signal(signal.SIGKILL)
    assert process.wait(280) == -signal.SIGKILL


def test_what_a_fork_starts_is_its_child_and_forked_too(telling: Project) -> None:
    tune = telling.start("tune", "study.n_trials=1", "launch.workers=1")
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    (worker,) = told(telling)
    assert worker["forked"]
    assert worker["parent"] == tune.pid
    assert worker["leads"], "a session of its own, which Ctrl-C does not reach"


def test_all_else_is_started_as_usual() -> None:
    with warm.Popen(["sh", "-c", "echo $0; exit 3"], stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=280)[0] == "sh\n"
    assert process.returncode == 3


def test_a_command_leaves_the_process_that_it_was_run_in_as_it_was(telling: Project) -> None:
    def state() -> tuple[object, ...]:
        here = (os.getcwd(), dict(os.environ), [*sys.path], sys.stdout, sys.stderr)
        return *here, [*log.handlers], log.level, log.propagate, subprocess.Popen

    before = state()
    words = ["worker", *Project.DEFAULTS, "study.n_trials=1"]
    said = inside.run(words, telling.directory, {"A": "b"})
    assert said.code == 0, said.err
    assert "on stdout\n" in said.out
    assert "on stderr\n" in said.err
    assert told(telling)[0]["environ"].items() >= {("A", "b")}
    assert state() == before
    assert "toy" not in sys.modules
    assert telling.ask("tunes", code=2) == ""
