"""Workers that wait: which studies they run, and that a row chooses nothing but these."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from optuna.trial import TrialState

from tests.conftest import Project
from tests.launched import new_database, read_until
from tuner.api import preflight, served, waiting
from tuner.api.waiting import Waiting
from tuner.config.composition import Source
from tuner.errors import ConfigError, StorageLost, TunerError
from tuner.launch import gpus
from tuner.study import create, plan, study
from tuner.study.budget import Budget
from tuner.study.plan import Plan
from tuner.study.study import Study


class Sleepless(Exception):
    """The worker has nothing to do."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The override that names a database; the current directory is empty."""
    monkeypatch.chdir(tmp_path)
    return f"storage.url=sqlite:///{tmp_path}/study.db"


def created(*overrides: str) -> Study:
    return create.open_study(plan.load(Source(), overrides, validate=False))


def waits(monkeypatch: pytest.MonkeyPatch, *overrides: str, idle: Callable[[], object]) -> Plan:
    """The plan of the study that a worker found, which calls ``idle`` instead of sleeping."""
    monkeypatch.setattr(waiting, "sleep", lambda _: idle())
    asked = plan.load(Source(), overrides, validate=False)
    found, joined = Waiting(Source(), overrides, asked).until_work()
    assert joined.name == found.study.name
    return found


def sleepless() -> None:
    raise Sleepless


def test_a_study_is_repeated_from_its_experiment_name_seed_and_limits(here):
    made = created(here, "experiment=digits", "study.name='a b'", "seed=3", "study.n_trials=7",
                   "budget.hours=1.5", "launch=none", "worker.grace=30")  # fmt: skip
    found = served.planned(Source(), [here, "worker.grace=20"], made)
    assert found.overrides[2:6] == (
        "experiment=digits", "study.name='a b'", "seed=3", "study.n_trials=7"
    )  # fmt: skip
    assert (found.study.name, found.seed, found.budget.hours) == ("a b", 3, 1.5)
    assert found.worker.grace == 20, "how to run is said here"


@pytest.mark.parametrize(
    ("theirs", "stored", "ours", "told"),
    [
        (["model.width=16", "study.enqueue=[[seed=1]]"], {}, [], "sets model.width, study.enqueue"),
        ([], {"command": ["experiment=../evil"]}, [], r"no experiment ../evil here"),
        (["experiment=digits"], {}, ["experiment=cifar10"], "this command is for cifar10"),
        ([], {"config": "model: {width: 99}"}, [], r"another one\n  data"),
        ([], {"search": "sampler: {_target_: os.system}"}, [], r"another one\n  pruner"),
        ([], {"seed": "${oc.env:HOME}"}, [], "damaged: it has no seed"),
    ],
)
def test_a_study_that_the_files_here_do_not_repeat_is_refused(here, theirs, stored, ours, told):
    made = created(here, *theirs)
    for key, value in stored.items():
        made.storage.set_study_user_attr(made.id, key, value)
    with pytest.raises(TunerError, match=told):
        served.planned(Source(), [here, *ours], made)


def test_an_experiment_may_be_in_a_directory_of_its_group(here, tmp_path):
    file = tmp_path / "conf/experiment/team/small.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nstudy: {n_trials: 3}\n")
    ours = Source((tmp_path / "conf",))
    made = create.open_study(plan.load(ours, [here, "experiment=team/small"], validate=False))
    assert served.planned(ours, [here], made).study.name == "team-small"
    for word in ("team", "team/../team/small", "/team/other", "team/small.yaml"):
        made.storage.set_study_user_attr(made.id, "command", [f"experiment={word}"])
        with pytest.raises(TunerError, match="no experiment"):
            served.planned(ours, [here], made)


def test_a_name_is_no_interpolation(here):
    made = created(here)
    made.name = "${oc.env:HOME}"
    with pytest.raises(TunerError, match="its name"):
        served.planned(Source(), [here], made)


def test_a_study_with_another_range_is_left_to_others(here):
    made = created(here, "experiment=digits")
    rows = made.attrs["space"]
    searched = next(row for row in rows if row["distribution"].startswith("float"))
    searched["distribution"] += "0"
    made.storage.set_study_user_attr(made.id, "space", rows)
    with pytest.raises(TunerError, match=rf"another one\n  ~ {searched['name']}"):
        served.planned(Source(), [here], made)


def damage(study: Study, statement: str, *values: object) -> None:
    with study.storage.engine.begin() as connection:
        connection.exec_driver_sql(statement, (*values, study.id))


def test_a_study_that_cannot_be_read_keeps_no_worker_from_the_others(here, monkeypatch, caplog):
    made = {key: created(here, f"study.name={key}") for key in ("number", "???", "space", "trial")}
    edit = "update study_user_attributes set value_json=? where key=? and study_id=?"
    damage(made["number"], edit, f'"data: 0x{"f" * 5000}"', "config")
    damage(made["???"], "update studies set study_name=? where study_id=?", "???")
    rows = [{**row, "distribution": ""} for row in made["space"].attrs["space"]]
    damage(made["space"], edit, json.dumps(rows), "space")
    made["trial"].claim("worker", budget=Budget(), max_retries=1)
    damage(made["trial"], "update trials set number='x' where study_id=?")
    with caplog.at_level("INFO"):
        later = lambda: created(here, "study.name=ours")  # noqa: E731
        assert waits(monkeypatch, here, idle=later).study.name == "ours"
    refused = [line for line in caplog.messages if "is left to others" in line]
    assert len(refused) == len(made)
    assert max(map(len, refused)) < 10_000


def test_a_study_that_is_deleted_while_it_is_looked_at_is_none(here, monkeypatch):
    made = created(here, "study.name=gone")
    planned = served.planned

    def deleted(*args: Any) -> Plan:
        found = planned(*args)
        if found.study.name == "gone":
            made.storage.delete_study(made.id)
        return found

    monkeypatch.setattr(served, "planned", deleted)
    later = lambda: created(here, "study.name=ours")  # noqa: E731
    assert waits(monkeypatch, here, idle=later).study.name == "ours"


def test_an_outage_of_the_database_is_no_fault_of_a_study(here, monkeypatch):
    created(here)
    away = StorageLost("the database went away")
    monkeypatch.setattr(served, "planned", Mock(side_effect=away))
    monkeypatch.setattr(waiting, "_has", Mock(side_effect=away))
    with pytest.raises(StorageLost):
        waits(monkeypatch, here, idle=sleepless)


def test_a_worker_joins_no_study_in_which_its_own_plan_has_nothing_to_do(here, monkeypatch):
    made = created(here, "trainer.epochs=2", "budget.epochs=3")
    assert made.claim("worker", budget=Budget(), max_retries=1)
    limits = {**made.attrs["budget"], "length": 1}
    made.storage.set_study_user_attr(made.id, "budget", limits)
    with pytest.raises(Sleepless):
        waits(monkeypatch, here, "trainer.epochs=2", idle=sleepless)


def test_a_worker_that_was_lost_after_its_last_trial_is_no_work(here, monkeypatch):
    made = created(here, "study.n_trials=1")
    made.join("worker", "cpu")
    trial = made.claim("worker", budget=Budget(n_trials=1), max_retries=1)
    made.storage.set_trial_state_values(trial, TrialState.COMPLETE, [1.0])
    made.expire("worker")
    with pytest.raises(Sleepless):
        waits(monkeypatch, here, idle=sleepless)


def test_a_study_may_be_stopped_before_any_worker_has_come(here, monkeypatch):
    created(here).stop()
    with pytest.raises(Sleepless):
        waits(monkeypatch, here, idle=sleepless)
    created(here)
    assert waits(monkeypatch, here, idle=sleepless)


def test_a_lost_worker_does_not_keep_a_study_stopped(here, monkeypatch):
    made = created(here)
    made.join("worker", "cpu")
    made.stop()
    made.expire("worker")
    created(here)
    assert waits(monkeypatch, here, idle=sleepless)


def test_a_worker_waits_for_a_study_with_work(here, monkeypatch):
    later = iter([
        lambda: created(here, "study.name=finished", "study.n_trials=0"),
        lambda: created(here, "study.name=other", "model.width=16"),
        lambda: created(here, "study.name=ours"),
    ])  # fmt: skip
    assert waits(monkeypatch, here, idle=lambda: next(later)()).study.name == "ours"


@pytest.mark.parametrize(
    ("word", "told"), [("worker.device=cuda:0", "has no GPU"), ("study.name=a,b", "one study")]
)
def test_a_worker_that_could_serve_no_study_does_not_wait(here, monkeypatch, word, told):
    monkeypatch.setattr(gpus, "visible", list)
    with pytest.raises(ConfigError, match=told):
        waits(monkeypatch, here, word, idle=sleepless)


def test_a_worker_waits_for_the_study_that_it_is_given(here, monkeypatch):
    created(here, "study.name=other")
    later = lambda: created(here, "study.name=ours")  # noqa: E731
    assert waits(monkeypatch, here, "study.name=ours", idle=later).study.name == "ours"


def test_a_stopped_study_waits_for_somebody_who_goes_on_with_it(here, monkeypatch):
    made = created(here)
    made.join("worker", "cpu")
    made.stop()
    made.leases.leave("worker")
    with pytest.raises(Sleepless):
        waits(monkeypatch, here, idle=sleepless)
    assert waits(monkeypatch, here, idle=lambda: created(here)).study.name == made.name


def test_a_lost_trial_is_work_and_a_running_one_is_not(here, monkeypatch):
    made = created(here, "study.n_trials=1")
    made.join("worker", "cpu")
    assert made.claim("worker", budget=Budget(n_trials=1), max_retries=1)
    with pytest.raises(Sleepless):
        waits(monkeypatch, here, idle=sleepless)
    made.expire("worker")
    assert waits(monkeypatch, here, idle=sleepless).study.name == made.name


def test_a_study_that_fails_too_often_is_not_tried_again(project: Project, postgresql, monkeypatch):
    env = {"TUNER_STORAGE_URL": new_database(postgresql)}
    args = ["storage=postgresql", "objective.fate=raise", "worker.min_failures=1"]
    project.call("tune", "launch=none", *args, **env)
    project.call("worker", "--wait", *args, code=1, **env)
    monkeypatch.setattr(waiting, "sleep", lambda _: sleepless())
    with pytest.raises(Sleepless):
        project.call("worker", "--wait", *args, **env)


def test_a_study_created_without_workers_is_run_by_one_that_waits(project: Project, postgresql):
    url = new_database(postgresql)
    env = {"TUNER_STORAGE_URL": url}
    args = ["storage=postgresql", "study.n_trials=2"]
    out = project.call("tune", "launch=none", "study.name=made", *args, **env)
    assert "watch:     tuner status made --watch" in out
    project.call("worker", "--wait", "storage=postgresql", **env)
    trials = study.load(url, "made", grace=60, patience=5).optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    idle = project.start("worker", "--wait", "storage=postgresql", **env)
    read_until(idle, "waiting for studies")
    idle.send_signal(signal.SIGTERM)
    assert idle.wait(timeout=280) == 143


def test_a_final_needs_workers_of_its_own(project: Project):
    project.call("worker", "--wait", "--final", code=2)
    assert "--wait: a worker that waits runs no trainings" in project.stderr
    words = ["launch=none", "storage.url=postgresql://tuner@db/tuner"]
    with pytest.raises(TunerError, match="launch: the workers that wait"):
        preflight.launcher_of(plan.load(Source(), words, validate=False))
