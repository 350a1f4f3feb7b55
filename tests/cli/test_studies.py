"""The commands on studies that exist: trials, trial, compare, study, clean."""

import csv
import io
import json
import os
import pty
import subprocess
from pathlib import Path

import optuna
import pytest

from tests import warm
from tests.conftest import Project
from tests.launched import new_database
from tuner.study import study as studies


@pytest.fixture
def searched(project: Project) -> Project:
    """A project with a study of three configurations."""
    project.call("worker", "study.n_trials=3")
    return project


def url(project: Project) -> str:
    return f"sqlite:///{project.directory}/runs/tuner.db"


def names(project: Project) -> list[str]:
    return [row["study"] for row in json.loads(project.ask("study", "list", "--json"))]


def test_trials_are_listed_for_people_and_for_programs(searched: Project):
    table = searched.ask("trials", "toy", "--sort=value").splitlines()
    records = json.loads(searched.ask("trials", "--json", "toy", "--sort=value"))
    assert table[0].split() == ["#", "state", "accuracy", "epochs", "time", "settings"]
    assert [int(line.split()[0]) for line in table[1:4]] == [row["number"] for row in records]
    assert records[0]["value"] == max(row["value"] for row in records)
    assert all(row["overrides"] is None for row in records), "the command names no search"
    known = json.loads(searched.call("trials", "--json", "--sort=value"))
    assert known[0]["overrides"][0] == "objective=toy"
    rows = list(csv.DictReader(io.StringIO(searched.ask("trials", "toy", "--csv"))))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert Path(searched.directory, rows[0]["checkpoint"]).read_text() == "4"
    assert searched.ask("trials", "toy", "--state=failed").strip() == "no such trial"
    searched.ask("trials", "toy", "--sort=y", code=2)
    assert "--sort: no column 'y'" in searched.stderr


def test_best_names_run_directory_and_checkpoint(searched: Project):
    best = json.loads(searched.call("best", "--json"))
    assert best["run_dir"].startswith(f"runs/toy/trials/{best['number']:05d}-")
    assert best["checkpoint"] == f"{best['run_dir']}/checkpoint.json"


def test_one_trial_is_told_by_its_number_before_or_after_the_name(searched: Project):
    one = searched.ask("trial", "1", "toy")
    assert one.startswith("toy #1  complete  accuracy ")
    assert one == searched.ask("trial", "toy", "#1")
    assert "tuner train --config-dir=conf objective=toy" in searched.call("trial", "1")
    known = json.loads(searched.ask("trial", "toy", "1", "--json"))
    assert (known["number"], [*known["curve"]]) == (1, ["1", "2", "3", "4"])
    searched.ask("trial", "toy", "7", code=1)
    assert "study 'toy' has no trial 7 (got 3 complete)" in searched.stderr
    searched.ask("trial", "toy", code=2)
    assert "expected the number of a trial, got toy" in searched.stderr


def test_two_studies_are_compared(searched: Project):
    searched.call("worker", "study.n_trials=2", "study.name=other", "seed=3")
    said = searched.ask("compare", "toy", "other")
    assert "differs in budget" in said
    assert said.endswith("page: runs/toy/compare-other.html\n")
    assert "Differences" in (searched.directory / "runs/toy/compare-other.html").read_text()
    searched.ask("compare", "toy", "other", "--output=runs", code=2)
    assert "--output: runs is a directory" in searched.stderr
    for words, told in (
        (["toy"], "expected A B, got toy"), (["toy", "otter"], "has no study 'otter'"),
    ):  # fmt: skip
        searched.ask("compare", *words, code=2)
        assert told in searched.stderr


def test_a_study_is_renamed_with_its_directory_and_goes_on(searched: Project):
    searched.ask("study", "rename", "toy", "first")
    assert names(searched) == ["first"]
    assert not (searched.directory / "runs" / "toy").exists()
    best = json.loads(searched.ask("best", "first", "--json"))
    assert best["run_dir"].startswith("runs/first/trials/")
    assert best["overrides"][0] == "objective=toy", "its command has moved with it"
    stored = studies.load(url(searched), "first", grace=60, patience=0).optuna.get_trials()
    assert all(t.user_attrs["run_dir"].startswith("runs/first/trials/") for t in stored)
    searched.call("worker", "study.n_trials=4", "study.name=first")
    assert len([*(searched.directory / "runs" / "first" / "trials").iterdir()]) == 4
    searched.call("worker", "study.n_trials=1")
    searched.ask("study", "rename", "first", "toy", code=2)
    assert "already has a study 'toy'" in searched.stderr
    searched.ask("study", "rename", "first", "a/b", code=2)
    assert "'a/b' cannot be the name of a directory" in searched.stderr


def test_a_study_is_deleted_when_somebody_agrees(searched: Project):
    searched.ask("study", "delete", "toy", code=2)
    assert "cannot ask for confirmation without a terminal: delete study 'toy'" in searched.stderr
    assert "?" not in searched.stderr
    assert names(searched) == ["toy"]
    optuna.create_study(storage=url(searched), study_name=studies.name_of_final("toy"))
    searched.ask("study", "delete", "toy", code=2)
    assert "'toy' with its 3 stored trials and its final (their files" in searched.stderr
    assert "deleted study" in searched.ask("study", "delete", "toy", "--yes")
    assert names(searched) == []
    assert [*searched.directory.glob("runs/toy/trials/*/checkpoint.json")]
    searched.ask("study", "delete", "toy", "--yes", code=2)
    assert "has no study 'toy'; hint: it has no study yet" in searched.stderr


def test_the_files_of_a_deleted_study_go_with_it_and_no_others(searched: Project):
    searched.call("worker", "study.n_trials=1", "study.name=other")
    other = sorted((searched.directory / "runs" / "other").rglob("*"))
    (searched.directory / "runs" / "toy" / "report.html").touch()
    artifacts = searched.directory / "runs" / "artifacts"
    before = len([*artifacts.iterdir()])
    searched.ask("study", "delete", "toy", "--files", "--yes")
    left = sorted(path.name for path in (searched.directory / "runs" / "toy").iterdir())
    assert left == ["command.json", "report.html"]
    assert sorted((searched.directory / "runs" / "other").rglob("*")) == other
    assert len([*artifacts.iterdir()]) == before // 4


def test_a_study_with_a_live_worker_stays_and_who_works_is_named(project: Project):
    worker = project.start("worker", "study.n_trials=1", "objective.fate=wait")
    project.wait_until_held()
    for words in (["delete", "toy", "--yes"], ["rename", "toy", "other"]):
        project.ask("study", *words, code=2)
        assert f"process {worker.pid}, with trial 0; hint: stop them with" in project.stderr
    assert names(project) == ["toy"]
    project.go()
    assert worker.wait(280) == 0
    project.ask("study", "rename", "toy", "other")
    assert names(project) == ["other"]


def test_a_study_is_copied_to_another_database_and_back(searched: Project, postgresql: str):
    there = new_database(postgresql)
    said = searched.ask("study", "copy", "toy", there)
    assert said.startswith("copied study 'toy' with 3 trials to postgresql+psycopg://")
    best = searched.call("best", "--json")
    assert searched.call("best", "--json", TUNER_STORAGE_URL=there) == best
    back = f"sqlite:///{searched.directory}/back.db"
    searched.ask("study", "copy", "toy", back, TUNER_STORAGE_URL=there)
    assert searched.call("best", "--json", TUNER_STORAGE_URL=back) == best
    searched.ask("study", "copy", "toy", back, code=2)
    assert "already has a study 'toy'" in searched.stderr
    searched.ask("study", "copy", "tyo", "sqlite:///new.db", code=2)
    assert "has no study 'tyo'; hint: it has toy" in searched.stderr
    assert not (searched.directory / "new.db").exists()


def test_a_password_of_the_target_is_not_shown(searched: Project):
    word = "-".join(["s3cret", "w0rd"])
    searched.ask("study", "copy", "toy", f"postgresql+psycopg://me:{word}@127.0.0.1:1/db", code=2)
    assert word not in searched.stderr
    assert "cannot open" in searched.stderr


def test_clean_shows_and_removes_what_nothing_needs(searched: Project):
    kept = {row["number"] for row in json.loads(searched.ask("trials", "toy", "--json"))
            if row["value"] == json.loads(searched.call("best", "--json"))["value"]}  # fmt: skip
    shown = searched.ask("clean", "--dry-run")
    assert shown.splitlines()[0].split()[:3] == ["study", "on", "disk"]
    assert len([*searched.directory.glob("runs/toy/trials/*/checkpoint.json")]) == 3
    searched.ask("clean", code=2)
    assert "remove the checkpoints of 2 finished trials (2 B)" in searched.stderr
    assert "removed the checkpoints of 2 finished trials (2 B)" in searched.ask(
        "clean", "toy", "--yes"
    )
    left = [int(p.parent.name[:5]) for p in searched.directory.glob("runs/**/checkpoint.json")]
    assert set(left) == kept
    searched.ask("clean", "--keep=0", "--yes")
    assert not [*searched.directory.glob("runs/**/checkpoint.json")]
    assert [*searched.directory.glob("runs/toy/trials/*/artifacts/*.svg")]
    searched.ask("clean", "tyo", "--yes", code=2)
    assert "has no study 'tyo'" in searched.stderr


def test_of_several_objectives_the_pareto_front_keeps_its_checkpoints(project: Project):
    several = [
        "study.objectives={loss: minimize}",
        "study.n_trials=3",
        "study.keep_checkpoints=null",
    ]
    project.call("worker", *several)
    front = json.loads(project.call("best", "--pareto", "--json", *several))
    assert len(front) < 3
    project.ask("clean", "toy", "--yes")
    left = {int(p.parent.name[:5]) for p in project.directory.glob("runs/**/checkpoint.json")}
    assert left == {row["number"] for row in front}


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, ["toy"]), ("y", 0, [])])
def test_on_a_terminal_the_question_is_asked(
    searched: Project, answer: str, code: int, left: list[str]
):
    ours, theirs = pty.openpty()
    asked = warm.Popen(
        [*warm.COMMAND, "study", "delete", "toy"], cwd=searched.directory, env={**os.environ},
        stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    _, said = asked.communicate(timeout=280)
    assert asked.returncode == code
    os.close(ours)
    os.close(theirs)
    assert b"delete study 'toy' with its 3 stored trials" in said
    assert names(searched) == left


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["study"], "expected list, rename, delete, copy; hint: tuner study list"),
        (["study", "remove"], "got 'remove'"),
        (["study", "rename", "a"], "expected OLD NEW, got a; hint: tuner study rename OLD NEW"),
        (["study", "rename", "a", "b", "--files"], "--files is an option of tuner study delete"),
        (["study", "list", "a"], "expected no name, got a"),
        (["study", "copy", "a"], "expected NAME URL, got a"),
        (["trials", "a", "b"], "expected one study, got a and b"),
        (["trials", "a", "--json", "--csv"], "not allowed with"),
        (["clean", "--keep=-1"], "--keep: expected an integer of 0 or more"),
        (["trials", "a", "--state=done"], "--state"),
    ],
)
def test_a_wrong_call_is_one_line(project: Project, words: list[str], told: str):
    project.ask(*words, code=2)
    assert told in project.stderr
    assert project.stderr.count("\n") == 1
