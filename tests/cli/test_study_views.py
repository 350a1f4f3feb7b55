"""Commands that are given the name of a study instead of its configuration."""

import json
import re

import pytest

from tests.conftest import Project
from tuner.config import override_parser
from tuner.study import location


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


def test_the_lines_at_the_end_of_a_search_are_short_and_work(project: Project) -> None:
    out = project.call("tune", "study.n_trials=3", "launch.workers=1", "objective.epochs=2")
    lines = dict(re.findall(r"^(\w+): +(tuner .*)$", out, re.MULTILINE))
    assert lines == {
        "best": "tuner train $(tuner best toy --overrides)",
        "final": "tuner final toy",
        "dashboard": "tuner dashboard toy",
    }
    (words,) = project.ask("best", "toy", "--overrides").splitlines()
    assert "objective.epochs=2" in words.split()
    trained = json.loads(project.ask("train", *words.split()))
    best = json.loads(project.ask("best", "toy", "--json"))
    assert trained["accuracy"] == best["value"]
    assert best["overrides"] == [word for word in words.split() if not word.startswith("--")]
    final = project.ask("final", "toy", "final.seeds=2", "final.finalists=1")
    assert "over 2 seeds" in final
    assert "dashboard: tuner dashboard toy\n" in final
    assert project.ask("export", "toy").startswith("runs/toy/export/overrides.txt")


def test_a_study_elsewhere_is_named_with_its_place(project: Project) -> None:
    places = ["storage.url=sqlite:///other.db", "study.dir=there"]
    out = project.call("tune", "study.n_trials=1", "launch.workers=1", *places)
    (line,) = re.findall(r"^final: +tuner (.*)$", out, re.MULTILINE)
    assert line.split() == ["final", "toy", *places]
    assert json.loads(project.ask("status", "toy", *places, "--json"))["counts"]["complete"] == 1
    assert project.ask("report", "toy", *places).strip() == "there/report.html"
    assert "(1 seed)" in project.ask(*line.split(), "final.seeds=1")


def test_without_the_record_of_the_search_the_difference_is_named(project: Project) -> None:
    project.call("worker", "study.n_trials=1", "objective.epochs=2")
    (project.directory / "runs/toy/command.json").unlink()
    project.ask("final", "toy", code=2)
    assert "lacks" in project.stderr
    assert "repeat the options and overrides of the search" in project.stderr
    project.ask("final", "toy", *project.DEFAULTS, code=2)
    assert "objective.epochs=2: is neither pinned nor searched" in project.stderr
    (project.directory / "runs/toy/command.json").write_text("{}")
    project.ask("final", "toy", code=2)
    assert "command.json cannot be read" in project.stderr


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
        (["status", "a/b"], "study.name: 'a/b' cannot be the name of a directory"),
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
    assert location.places([f"storage.url={value}"]) == ({"storage.url": value}, [])
    assert override_parser.parse(f"storage.url={value}").value() == value


@pytest.mark.parametrize(
    "value", ["1", "'a'", "${a}", "a,b", "", "[a]", "int(3)", "a b", "1e3", "null"]
)
def test_other_values_are_left_to_hydra(value: str) -> None:
    text = f"storage.url={value}"
    assert location.places([text]) == ({}, [text])
