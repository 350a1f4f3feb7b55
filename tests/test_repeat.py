"""The commands that a report shows repeat the search, and tell nothing of where it ran."""

import shlex
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.samples import add, new_study
from tuner import config, plan, provenance
from tuner.config import Source
from tuner.report.repeat import shared, train_line, tune_line
from tuner.report.summary import summarise

SECRET = "postgresql+psycopg://me:secret@host/db"


def test_a_study_notes_the_words_of_its_command(tmp_path: Path) -> None:
    (tmp_path / "my conf").mkdir()
    words = [
        "study.name=x", f"storage.url=sqlite:///{tmp_path}/x.db", "space=none", "seed=3",
        "model.width=int(interval(8,64))", f"study.prior_url='{SECRET}'", "data=npz",
        "data.root=/here",
    ]  # fmt: skip
    asked = plan.load(Source((tmp_path / "my conf",)), words, judge=False).require()
    opened = provenance.open_study(asked)
    assert "secret" not in str(opened.attrs["command"])
    line = tune_line(summarise(opened.optuna))
    assert shlex.split(line) == [
        "tuner", "tune", "--config-dir=my conf", "study.name=x", "space=none", "seed=3",
        "model.width=int(interval(8,64))", "data=npz", "data.root=DIR",
    ]  # fmt: skip


def test_a_configuration_is_found_where_the_search_found_it(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, TrialState.COMPLETE, [0.5], overrides=["objective=mine", "seed=3"])
    command = ["--app=a.py", "--config-dir=/x/my conf", "--config-name", "main", "lr=choice(1,2)"]
    study.set_user_attr("command", command)
    summary = summarise(study)
    line = train_line(summary, summary.rows[0])
    assert shlex.split(line) == [
        "tuner", "train", "--app=a.py", "--config-dir=my conf", "--config-name", "main",
        "objective=mine", "seed=3",
    ]  # fmt: skip


def test_a_study_that_does_not_know_its_command(tmp_path: Path) -> None:
    assert tune_line(summarise(new_study(tmp_path))) == ""


def test_where_things_lie_is_not_shared() -> None:
    assert shared(["+storage.url=x", "data.root=/x", "a=b"]) == ["data.root=DIR", "a=b"]
    assert shared(["--config-dir=/home/me/conf"]) == ["--config-dir=conf"]


@pytest.mark.parametrize(
    ("override", "printed"),
    [
        ("study.constraints={parameters: 1000000}", "study.constraints={parameters:1000000}"),
        ("model.kernel_size=[3, 5]", "model.kernel_size=[3,5]"),
        ("+x='a b'", "+x='a b'"),
        ("x=[1, 'a b', {y: 1.5}]", "x=[1,'a b',{y:1.5}]"),
        ("x=3", "x=3"),
    ],
)
def test_a_shell_splits_no_more_than_it_must(override: str, printed: str) -> None:
    assert config.spaceless(override) == printed
