"""Renaming, deleting and copying studies: whole or not at all, and never under live workers."""

import json
import math
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import DBAPIError

from tests.databases import sqlite
from tests.launched import new_database
from tuner.errors import StorageLost, StudyError, StudyMissing
from tuner.report.summary import summarise
from tuner.storage import database, study_rows
from tuner.storage.trial_storage import Trials
from tuner.study import administration, study
from tuner.study.study import Study, create_tables

KINDS = {
    "x": FloatDistribution(1e-5, 1.0, log=True),
    "n": IntDistribution(1, 9, step=2),
    "c": CategoricalDistribution([None, True, 3, 0.5, "a 'b' %s"]),
}
PARAMS = {"n": 3, "c": "a 'b' %s", "x": 0.1 + 0.2}
CURVE = {1: math.nan, 2: math.inf, 3: -math.inf, 7: 1e-300}
ARTIFACT = {"artifact_id": "01234567-89ab-cdef-0123-456789abcdef", "filename": "a b.svg"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of this test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return new_database(request.getfixturevalue("postgresql"))


def connected(url: str) -> Trials:
    on_disk = url.startswith("sqlite")
    opened = sqlite(Path(url.removeprefix("sqlite:///"))) if on_disk else database.connect(url)
    create_tables(opened)
    return opened


def filled(url: str, name: str = "digits") -> Study:
    """A study with trials in every state, with what is hard to store, and with hours of work."""
    rdb = connected(url)
    ways = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    study_id = rdb.create_new_study(ways, name)
    for key, value in {
        "metric": "accuracy",
        "uid": "0" * 32,
        "note": "ä %s \0",
        "big": 2**60,
    }.items():
        rdb.set_study_user_attr(study_id, key, value)
    rdb.set_study_system_attr(study_id, "study:metric_names", ["accuracy", "loss"])
    for number, state in enumerate([*TrialState, TrialState.COMPLETE]):
        done = state in (TrialState.COMPLETE, TrialState.PRUNED)
        trial = create_trial(
            state=state, values=[0.1 * number, math.inf] if done else None, params=PARAMS,
            distributions=KINDS, intermediate_values=CURVE,
            user_attrs={"run_dir": f"runs/{name}/trials/0000{number}-01234567", "facts": {"a": 1}},
            system_attrs={"artifacts:x": json.dumps(ARTIFACT), "failed_trial": 0},
        )  # fmt: skip
        rdb.create_new_trial(study_id, trial)
    made = Study(rdb, name, grace=60, patience=1)
    made.clock.start("cpu", 2)
    made.clock.book({"": 1, "cpu": 2}, 0.0, 3600.0)
    malformed = "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:id, :k, :v)"
    run(made, malformed, id=made.optuna.get_trials()[0]._trial_id, k="facts:", v="[[[")
    return made


def run(opened: Study, statement: str, **values: Any) -> None:
    with opened.storage.engine.begin() as connection:
        connection.execute(sa.text(statement), values)


OF_TRIALS = (
    "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes",
    "trial_system_attributes",
)  # fmt: skip


def content(storage: Trials, name: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that Optuna's tables hold of a study, without the ids of rows."""
    own = f"study_id = (SELECT study_id FROM studies WHERE study_name = '{name}')"
    trials = f"SELECT * FROM trials WHERE {own} ORDER BY trial_id"
    tables = {
        table: f"SELECT * FROM {table} WHERE {own}"
        for table in ("study_directions", "study_user_attributes", "study_system_attributes")
    }
    tables |= {
        table: f"SELECT t.number AS of_trial, x.* FROM ({trials}) t JOIN {table} x "
        "ON x.trial_id = t.trial_id"
        for table in OF_TRIALS
    }
    found = {}
    with storage.engine.connect() as connection:
        for table, query in {"trials": trials, **tables}.items():
            rows = [dict(row) for row in connection.execute(sa.text(query)).mappings()]
            found[table] = [
                {k: str(v) for k, v in row.items() if not k.endswith("_id")} for row in rows
            ]
            if table != "trials":
                found[table].sort(key=lambda row: sorted(row.items()))
    return found


def test_a_copy_to_postgresql_and_back_holds_the_same(tmp_path: Path, postgresql: str):
    made = filled(f"sqlite:///{tmp_path}/first.db")
    made.join("w0", "cpu")
    there = connected(new_database(postgresql))
    back = connected(f"sqlite:///{tmp_path}/second.db")
    there.create_new_study([StudyDirection.MINIMIZE], "another")  # so that ids differ
    there.create_new_trial(1, create_trial(state=TrialState.FAIL))
    before = content(made.storage, "digits")
    assert all(before.values()), "every table has rows"
    assert administration.copy(made.storage, "digits", there) == administration.Copied(6, 1)
    assert administration.copy(there, "digits", back) == administration.Copied(6, 1)
    assert content(there, "digits") == content(back, "digits") == before
    copies = [Study(each, "digits", grace=60, patience=1) for each in (made.storage, there, back)]
    now = datetime.now()  # the end of the running trial
    looks = [summarise(each.optuna, now=now, times=each.times()) for each in copies]
    assert len({repr(look) for look in looks}) == 1, "counts, times, curves, values, attributes"
    assert looks[0].times.device_hours == pytest.approx(2 * looks[0].times.hours)
    assert [each.workers() for each in copies[1:]] == [[], []], "no worker runs a copy"


def test_optuna_reads_a_copy(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/first.db")
    target = connected(f"sqlite:///{tmp_path}/second.db")
    administration.copy(made.storage, "digits", target)
    loaded = [
        optuna.load_study(study_name="digits", storage=f"sqlite:///{tmp_path}/{name}.db")
        for name in ("first", "second")
    ]
    run(made, "DELETE FROM trial_user_attributes WHERE value_json = '[[['")
    with target.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM trial_user_attributes WHERE value_json = '[[['"))
    first, second = ([(t.params, t.values, t.user_attrs, t.system_attrs) for t in each.get_trials()]
                     for each in loaded)  # fmt: skip
    assert first == second


def test_a_running_trial_of_a_copy_is_requeued_by_who_joins(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/first.db")
    target = connected(f"sqlite:///{tmp_path}/second.db")
    administration.copy(made.storage, "digits", target)
    copied = Study(target, "digits", grace=60, patience=1)
    copied.start("cpu", 1)
    states = [trial.state for trial in copied.optuna.get_trials()]
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.WAITING) == 2


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, postgresql: str):
    made = filled(f"sqlite:///{tmp_path}/first.db")
    run(made, "UPDATE trial_params SET param_value = 'text' WHERE trial_id = 5")
    there = connected(new_database(postgresql))
    with pytest.raises((StorageLost, DBAPIError)):
        administration.copy(made.storage, "digits", there)
    assert there.get_all_studies() == []
    run(made, "UPDATE trials SET state = 'LOST' WHERE trial_id = 5")
    with pytest.raises(StorageLost, match="a row of a trial is damaged"):
        administration.copy(made.storage, "digits", there)
    assert there.get_all_studies() == []


def test_a_study_is_not_copied_over_another(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/first.db")
    before = content(made.storage, "digits")
    with pytest.raises(StudyError, match="already has a study 'digits'"):
        administration.copy(made.storage, "digits", made.storage)
    with pytest.raises(StudyMissing, match="has no study 'digit'; hint: it has digits"):
        administration.copy(made.storage, "digit", made.storage)
    assert content(made.storage, "digits") == before


def test_a_deleted_study_leaves_no_row_and_the_others_whole(url: str):
    made = filled(url)
    other = filled(url, "other")
    made.join("w0", "cpu")
    made.leases.leave("w0")
    before = content(other.storage, "other")
    administration.delete(made.storage, "digits", grace=60)
    assert content(other.storage, "other") == before
    assert "digits" not in study.names(made.storage)
    with made.storage.engine.connect() as connection:
        for table in ("trials", "study_user_attributes", "tuner_clocks"):
            query = sa.text(f"SELECT count(*) FROM {table} WHERE study_id = {made.id}")
            assert connection.scalar(query) == 0, table
        for table in OF_TRIALS:
            query = sa.text(
                f"SELECT count(*) FROM {table} WHERE trial_id NOT IN (SELECT trial_id FROM trials)"
            )
            assert connection.scalar(query) == 0, table
    administration.delete(made.storage, "other", grace=60)


def test_a_renamed_study_is_the_same_and_its_rows_name_its_directory(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/study.db")
    made.storage.set_study_user_attr(made.id, "study_dir", "runs/digits")
    elsewhere = create_trial(state=TrialState.FAIL, user_attrs={"run_dir": "/scratch/digits/x"})
    made.storage.create_new_trial(made.id, elsewhere)
    before = content(made.storage, "digits")
    old, new = tmp_path / "runs" / "digits", tmp_path / "runs" / "digits-1"
    (old / "trials" / "00000-01234567").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        places = Path("runs/digits"), Path("runs/digits-1")
        assert administration.rename(made.storage, "digits", "digits-1", grace=60, move=places)
    assert not old.exists()
    assert (new / "trials" / "00000-01234567").is_dir()
    text = json.dumps(before).replace("runs/digits", "runs/digits-1")
    assert content(made.storage, "digits-1") == json.loads(text)
    renamed = study.load(str(made.storage.engine.url), "digits-1", grace=60, patience=1)
    assert (renamed.id, renamed.uid) == (made.id, made.uid)
    assert renamed.attrs["study_dir"] == "runs/digits-1"
    assert renamed.times() == made.times()


def test_a_directory_that_is_in_the_way_stops_a_rename(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/study.db")
    old, new = tmp_path / "digits", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    with pytest.raises(StudyError, match="already exists"):
        administration.rename(made.storage, "digits", "new", grace=60, move=(old, new))
    assert old.is_dir()
    assert study.names(made.storage) == ["digits"]


def test_a_rename_that_is_not_committed_moves_nothing(tmp_path: Path, monkeypatch):
    made = filled(f"sqlite:///{tmp_path}/study.db")
    before = content(made.storage, "digits")
    (tmp_path / "digits").mkdir()

    @sa.event.listens_for(made.storage.engine, "commit")
    def refuse(_connection: sa.Connection) -> None:
        raise StorageLost("the disk is full")

    with pytest.raises(StorageLost):
        administration.rename(
            made.storage, "digits", "new", grace=60, move=(tmp_path / "digits", tmp_path / "new")
        )
    sa.event.remove(made.storage.engine, "commit", refuse)
    assert (tmp_path / "digits").is_dir()
    assert not (tmp_path / "new").exists()
    assert content(made.storage, "digits") == before


@pytest.mark.parametrize("name", ["other", "a/b", "..", "", "\n", "ä" * 150])
def test_a_name_that_is_taken_or_names_no_directory_is_refused(tmp_path: Path, name: str):
    made = filled(f"sqlite:///{tmp_path}/study.db")
    made.storage.create_new_study([StudyDirection.MINIMIZE], "other")
    with pytest.raises(StudyError):
        administration.rename(made.storage, "digits", name, grace=60)
    assert study.names(made.storage) == ["digits", "other"]


def test_a_study_with_live_workers_is_neither_renamed_nor_deleted(url: str, tmp_path: Path):
    made = filled(url)
    made.join("w0", "cpu")
    with pytest.raises(StudyError, match=r"has active workers: w0 on .*, process \d+; hint: stop"):
        administration.delete(made.storage, "digits", grace=60)
    with pytest.raises(StudyError, match="has active workers"):
        administration.rename(made.storage, "digits", "new", grace=60)
    administration.copy(made.storage, "digits", connected(f"sqlite:///{tmp_path}/copy.db"))
    time.sleep(0.01)
    administration.rename(made.storage, "digits", "new", grace=0.005)  # it is silent for longer
    administration.delete(made.storage, "new", grace=0.005)
    assert study.names(made.storage) == []


@pytest.mark.filterwarnings("ignore:.*[Hh]eartbeat")
def test_a_live_worker_of_optunas_counts(url: str):
    rdb = connected(url)
    storage = optuna.storages.RDBStorage(url, heartbeat_interval=60, grace_period=120)
    theirs = optuna.create_study(study_name="theirs", storage=storage)
    trial = theirs.ask()
    storage.record_heartbeat(trial._trial_id)
    with pytest.raises(StudyError, match="an Optuna worker with trial 0"):
        administration.delete(rdb, "theirs", grace=60)
    theirs.tell(trial, 1.0)
    administration.delete(rdb, "theirs", grace=60)
    assert study.names(rdb) == []
    storage.remove_session()
    storage.engine.dispose()


def test_times_are_copied_as_they_are_stored(tmp_path: Path, monkeypatch):
    """An hour of autumn has no local name of its own: through local times it would be lost."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        made = filled(f"sqlite:///{tmp_path}/first.db")
        run(made, "UPDATE trials SET datetime_start = '2026-10-25 01:30:00.000000'")
        target = connected(f"sqlite:///{tmp_path}/second.db")
        administration.copy(made.storage, "digits", target)
        starts = {row["datetime_start"] for row in content(target, "digits")["trials"]}
        assert starts == {"2026-10-25 01:30:00.000000"}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_long_studies_are_copied_in_pieces(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(study_rows, "BATCH", 2)
    made = filled(f"sqlite:///{tmp_path}/first.db")
    target = connected(f"sqlite:///{tmp_path}/second.db")
    administration.copy(made.storage, "digits", target)
    assert content(target, "digits") == content(made.storage, "digits")


def test_the_trainings_of_a_final_go_with_their_study(tmp_path: Path):
    made = filled(f"sqlite:///{tmp_path}/study.db")
    final = filled(f"sqlite:///{tmp_path}/study.db", "digits/final")
    target = connected(f"sqlite:///{tmp_path}/copy.db")
    administration.copy(made.storage, "digits", target)
    assert content(target, "digits/final") == content(final.storage, "digits/final")
    final.join("w0", "cpu")
    with pytest.raises(StudyError, match="'digits/final' has active workers"):
        administration.delete(made.storage, "digits", grace=60)
    with pytest.raises(StudyError, match="'digits/final' has active workers"):
        administration.rename(made.storage, "digits", "letters", grace=60)
    assert study.names(made.storage) == ["digits", "digits/final"]
    final.leases.leave("w0")
    administration.rename(made.storage, "digits", "letters", grace=60)
    assert study.names(made.storage) == ["letters", "letters/final"]
    administration.delete(made.storage, "letters", grace=60)
    assert study.names(made.storage) == []
