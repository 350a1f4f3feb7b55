"""Commands that are given the name of a study instead of its configuration."""

import json

import pytest

from tests.conftest import Project
from tuner.cli.look import PLAIN
from tuner.config import composition


def test_a_study_is_looked_at_by_its_name(project: Project) -> None:
    project.call("worker", "study.n_trials=3")
    status = json.loads(project.ask("status", "toy", "--json"))
    assert (status["study"], status["counts"]["complete"]) == ("toy", 3)
    best = status["best"]
    number, *settings, again = project.ask("best", "toy").splitlines()
    assert number.startswith(f"#{best['number']}: accuracy ")
    assert f"  objective.x={best['params']['objective.x']}" in settings
    assert again == "tuner train $(tuner best toy --overrides)"
    assert project.ask("report", "toy").strip() == "runs/toy/report.html"
    for place in ("storage.url=sqlite:///runs/tuner.db", "storage=sqlite"):
        assert json.loads(project.ask("status", place, "toy", "--json"))["study"] == "toy"


def test_a_name_that_is_not_there_is_answered_with_the_nearest(project: Project) -> None:
    for name in ("digits", "other"):
        project.call("worker", "study.n_trials=1", f"study.name={name}")
    for command in ("status", "best", "report", "final", "export", "dashboard"):
        project.ask(command, "digist", code=2)
        assert "has no study 'digist'; hint: it has digits, other" in project.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "a", "b"], "expected one study, got a and b"),
        (["best", "a", "study.name=b"], "both study.name and the study 'a'"),
        (["status", "a", "--all"], "both --all and the study 'a'"),
        (["status", "a/b"], "study.name: 'a/b' cannot name a directory"),
        (["status", "a", "study.n_trails=2"], "study.n_trails"),
    ],
)
def test_a_name_is_given_once(project: Project, words: list[str], told: str) -> None:
    project.ask(*words, code=2)
    assert told in project.stderr


@pytest.mark.parametrize(
    "value",
    ["sqlite:///a.db", "sqlite:////tmp/a-b.db", "runs/x", "./a", "/tmp/@b", "postgresql://u@h:5/d"],
)
def test_a_value_that_is_read_without_hydra_is_what_hydra_reads(value: str) -> None:
    assert PLAIN.fullmatch(f"storage.url={value}")
    assert composition.parse(f"storage.url={value}").value() == value


@pytest.mark.parametrize("value", ["1", "'a'", "${a}", "a,b", "", "[a]", "int(3)", "a b", "1e3"])
def test_other_values_are_left_to_hydra(value: str) -> None:
    assert not PLAIN.fullmatch(f"storage.url={value}")
