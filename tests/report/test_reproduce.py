"""The commands in a report repeat the search, and do not reveal where it ran."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from tuner.config import override_parser
from tuner.config.composition import Source
from tuner.report.commands import UNKNOWN, shared
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary, summarise
from tuner.study import create, plan
from tuner.study.plan import Plan

SECRET = "postgresql+psycopg://me:secret@host/db"


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Plan, Summary]:
    """A command's plan, and what its study holds: one trial."""
    (tmp_path / "my conf").mkdir()
    words = [
        "study.name=x", f"storage.url=sqlite:///{tmp_path}/x.db", "space=none", "seed=3",
        "model.width=int(interval(8,64))", f"study.prior_url='{SECRET}'", "data=npz",
        "data.root=/here",
    ]  # fmt: skip
    asked = plan.load(Source((tmp_path / "my conf",)), words, validate=False).require()
    opened = create.open_study(asked)
    assert "secret" not in str(opened.attrs["command"])
    trial = create_trial(
        state=TrialState.COMPLETE, value=0.5, params={"model.width": 16},
        distributions={"model.width": IntDistribution(8, 64)},
        user_attrs={"overrides": ["data=npz", "data.root=/here", "model.width=16", "seed=4"]},
    )  # fmt: skip
    opened.storage.create_new_trial(opened.id, trial)
    return asked, summarise(opened.optuna)


def test_the_search_is_told_in_the_words_of_the_command_that_shows_it(
    searched: tuple[Plan, Summary],
) -> None:
    asked, summary = searched
    assert shlex.split(Repeats(asked).tune_line(summary)) == [
        "tuner", "tune", "--config-dir=my conf", "study.name=x", "space=none", "seed=3",
        "model.width=int(interval(8,64))", "data=npz", "data.root=DIR",
    ]  # fmt: skip
    assert Repeats(replace(asked, pins=())).tune_line(summary) == "", "of another search"


def test_a_configuration_is_found_where_this_command_found_it(
    searched: tuple[Plan, Summary],
) -> None:
    asked, summary = searched
    assert shlex.split(Repeats(asked).train_line(summary.rows[0])) == [
        "tuner", "train", "--config-dir=my conf", "data=npz", "data.root=DIR", "model.width=16",
        "seed=4",
    ]  # fmt: skip
    assert Repeats(replace(asked, pins=())).train_line(summary.rows[0]) == ""


def test_without_a_plan_nothing_is_told(searched: tuple[Plan, Summary]) -> None:
    _, summary = searched
    assert UNKNOWN.tune_line(summary) == UNKNOWN.train_line(summary.rows[0]) == ""


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
    assert override_parser.spaceless(override) == printed
