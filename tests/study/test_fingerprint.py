"""Code, packages and settings that differ from the study's are reported and recorded."""

import copy
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project
from tuner.study import fingerprint, stored_config


def git(*args: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *who, *args], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "objective_of_mine.py").write_text("a = 1\n")
    (tmp_path / "README.md").write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return tmp_path


def differences(stored: dict[str, object]) -> list[str]:
    return fingerprint.differences(stored, fingerprint.here("objective_of_mine.train"))


def test_the_same_code_differs_in_nothing(repository):
    assert differences(fingerprint.here("objective_of_mine.train")) == []


def test_changed_files_are_named_committed_or_not(repository):
    before = fingerprint.here("objective_of_mine.train")
    (repository / "objective_of_mine.py").write_text("a = 2\n")
    changes, source = differences(before)
    assert changes.endswith("differ: objective_of_mine.py")
    assert source.startswith("the objective's file has changed")
    git("commit", "-q", "-a", "-m", "two")
    commit, _ = differences(before)
    assert before["git_commit"][:10] in commit
    assert commit.endswith("in the study: objective_of_mine.py")


def test_a_commit_of_other_things_than_code_is_no_difference(repository):
    before = fingerprint.here("objective_of_mine.train")
    (repository / "README.md").write_text("two\n")
    git("commit", "-q", "-a", "-m", "two")
    assert differences(before) == []


def test_packages_that_matter_are_compared(repository):
    before = copy.deepcopy(fingerprint.here("objective_of_mine.train"))
    now = before["versions"]["optuna"]
    before["versions"]["optuna"] = "4.0"
    assert differences(before) == [f"optuna {now} here, 4.0 in the study"]


def test_a_commit_that_the_study_names_is_no_option_to_git(repository):
    """`git diff --output=FILE` writes a file; whoever can write to the database names commits."""
    before = fingerprint.here("objective_of_mine.train")
    assert differences(before | {"git_commit": "--output=owned"}) == []
    assert not (repository / "owned").exists()


def test_without_git_and_of_an_older_study_nothing_is_made_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = fingerprint.here("json.dumps")
    assert found["git_commit"] is found["git_changes"] is None
    assert fingerprint.differences({}, found) == []


def test_keys_that_differ_are_named_but_not_where_data_lie():
    old, new = "data: {root: a, limit: 1}\nb: {}\n", "data: {root: b, limit: 2}\nb: {c: 3}\n"
    assert stored_config.changed(old, new) == [
        "b: absent here, {} in the study",
        "b.c: 3 here, absent in the study",
        "data.limit: 2 here, 1 in the study",
    ]


def test_a_worker_of_other_code_says_so_and_its_trials_keep_it(project: Project):
    project.call("worker", "study.n_trials=1")
    with (project.directory / "toy.py").open("a") as source:
        source.write("# changed\n")
    project.call("worker", "study.n_trials=2", "objective.epochs=5", "pruner=median")
    for what in (
        "is resumed with other code, so its trials may not be comparable",
        "the objective's file has changed",
        "objective.epochs: 5 here, 4 in the study",
        "is resumed with another sampler or pruner",
        "pruner._target_: optuna.pruners.MedianPruner here",
    ):
        assert what in project.stderr
    first, second = project.study().optuna.get_trials()
    assert "differs" not in first.user_attrs
    assert second.user_attrs["differs"][-1] == "objective.epochs: 5 here, 4 in the study"
