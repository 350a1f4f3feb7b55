"""Optuna's storage test suite on every database, and the additional guarantees."""

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState

from tests.conftest import wait_for
from tuner.storage import database as storages
from tuner.storage import queries, writes
from tuner.storage.trial_storage import Trials

WHOLE_SECONDS = {
    "test_create_new_trial",
    "test_create_new_trial_with_template_trial",
    "test_get_trial",
    "test_get_all_trials",
}
"""Tests that compare times with a fraction, which MySQL's DATETIME in Optuna's schema lacks."""


@pytest.fixture
def storage(url: str, request: pytest.FixtureRequest) -> Trials:
    if url.startswith("mysql") and request.node.originalname in WHOLE_SECONDS:
        pytest.skip("MySQL keeps whole seconds")
    opened = storages.connect(url)
    for study in opened.get_all_studies():
        opened.delete_study(study._study_id)
    return opened


class TestContract(StorageTestCase):
    """Optuna's suite for the storages that it ships."""

    @pytest.fixture
    def storage(self, storage: Trials) -> Trials:
        return storage


DISTRIBUTIONS = {
    "float": FloatDistribution(0.0, 1.0),
    "log": FloatDistribution(1e-5, 1.0, log=True),
    "step": FloatDistribution(0.0, 1.0, step=0.25),
    "int": IntDistribution(1, 9, step=2),
    "choice": CategoricalDistribution([None, True, 3, 0.5, "a 'b' %s"]),
}
HARD = [float("inf"), float("-inf"), float("nan"), 1e-300, 0.1 + 0.2]
"""Numbers that get lost where a database lacks them or a column is too short."""
ATTRIBUTES = {"none": None, "text": "ä%s:x" * 3000, "list": [1, {"a": [None, 0.1]}], "big": 2**60}


@contextlib.contextmanager
def stock(url: str) -> Iterator[RDBStorage]:
    rdb = RDBStorage(url)
    try:
        yield rdb
    finally:
        rdb.remove_session()
        rdb.engine.dispose()


def fill(writer: optuna.storages.BaseStorage) -> int:
    """A study with a trial in every state and every kind of value."""
    study_id = writer.create_new_study([StudyDirection.MAXIMIZE] * 2, "both")
    for state in TrialState:
        waiting = optuna.create_trial(state=TrialState.WAITING, system_attrs={"a": state.value})
        trial_id = writer.create_new_trial(study_id, waiting)
        if state == TrialState.WAITING:
            continue
        writer.set_trial_state_values(trial_id, TrialState.RUNNING)
        for name, distribution in DISTRIBUTIONS.items():
            writer.set_trial_param(trial_id, name, 1.0, distribution)
        for key, item in ATTRIBUTES.items():
            writer.set_trial_user_attr(trial_id, key, item)
            writer.set_trial_system_attr(trial_id, key, item)
        for step, number in enumerate(HARD):
            writer.set_trial_intermediate_value(trial_id, step, number)
        if state.is_finished():
            both = [float("inf"), 0.1 + 0.2]
            writer.set_trial_state_values(
                trial_id, state, both if state == TrialState.COMPLETE else None
            )
    return study_id


def shown(trials: Iterable[FrozenTrial]) -> list[str]:
    """Trials as text: NaN is not itself but its word is, and attributes have no order."""
    texts = []
    for trial in trials:
        parts = dict(vars(trial))
        for name in ("_user_attrs", "_system_attrs", "intermediate_values"):
            parts[name] = sorted(parts[name].items())
        texts.append(repr(parts))
    return texts


def test_stock_optuna_and_ours_read_each_other_value_by_value(url, storage):
    with stock(url) as other:
        for writer in (storage, other):
            study_id = fill(writer)
            ours = storages.connect(url).get_all_trials(study_id)
            assert shown(ours) == shown(other.get_all_trials(study_id))
            assert [t.state for t in ours] == list(TrialState)
            assert ours[1].params["choice"] is True
            assert shown(storage.get_trial(t._trial_id) for t in ours) == shown(ours)
            storage.delete_study(study_id)


@pytest.mark.parametrize("others", [20, 200], ids=["dense", "sparse"])
def test_many_trials_are_read_value_by_value_whatever_lies_between_them(url, storage, others):
    studies = [storage.create_new_study([StudyDirection.MINIMIZE], name) for name in "ab"]
    with storage.locked(studies[0]) as connection:
        for place in range(150 + others):
            k = place * others // (150 + others)  # how many trials of b come before it
            mine = (place + 1) * others // (150 + others) == k
            template = optuna.create_trial(
                state=TrialState.RUNNING if place % 50 == 0 else TrialState.PRUNED,
                params={"x": place / 400},
                distributions={"x": FloatDistribution(0, 1)},
                intermediate_values={1: float(place)},
                user_attrs={"place": place},
            )
            number = place - k if mine else k
            writes.create(connection, studies[0 if mine else 1], number, template)
    with stock(url) as other:
        for study_id in studies:
            ours = storages.connect(url).get_all_trials(study_id)
            assert shown(ours) == shown(other.get_all_trials(study_id))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "UTC"])
def test_times_are_local_on_both_sides_of_a_change_of_the_clocks(monkeypatch, zone):
    try:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        queries._offset.cache_clear()
        for minutes in range(0, 365 * 24 * 60, 29):
            utc = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
            assert queries._local(utc.replace(tzinfo=None)) == utc.astimezone().replace(tzinfo=None)
    finally:
        monkeypatch.undo()
        time.tzset()
        queries._offset.cache_clear()


def test_stock_optuna_goes_on_with_the_study_and_we_with_its(url, storage):
    ours = optuna.create_study(storage=storage, study_name="s")
    with stock(url) as rdb:
        theirs = optuna.load_study(study_name="s", storage=rdb)
        for study in (ours, theirs, ours):
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        assert [t.number for t in ours.trials] == list(range(6))
        assert [t.value for t in ours.trials] == [t.value for t in theirs.trials]
        running = theirs.ask()
        running.suggest_int("n", 1, 9)
        running.report(0.5, 1)
        (seen,) = ours.get_trials(states=[TrialState.RUNNING])
        assert (seen.params, seen.intermediate_values) == (running.params, {1: 0.5})


@pytest.fixture
def statements(storage) -> list[str]:
    """Everything said to the database, transactions' ends included."""
    said: list[str] = []
    sa.event.listen(
        storage.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: said.append(text)
    )
    sa.event.listen(storage.engine, "commit", lambda _: said.append("COMMIT"))
    return said


def begun(storage: Trials, count: int = 1) -> tuple[int, list[int]]:
    """A study and some running trials."""
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE])
    return study_id, [storage.create_new_trial(study_id) for _ in range(count)]


def test_looking_again_costs_two_statements_and_what_is_known_stays_itself(storage, statements):
    study_id, ids = begun(storage, 6)
    for trial_id in ids:
        storage.set_trial_param(trial_id, "x", 0.5, DISTRIBUTIONS["float"])
        storage.set_trial_intermediate_value(trial_id, 1, 0.1)
    for trial_id in ids[:4]:
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.1])

    def look(*states: TrialState) -> list[FrozenTrial]:
        statements.clear()
        return storage.get_all_trials(study_id, deepcopy=False, states=states or None)

    before = look()
    storage.set_trial_intermediate_value(ids[4], 2, 0.2)
    after = look()
    assert len(statements) == 2
    assert [a is b for a, b in zip(before, after, strict=True)] == [True] * 4 + [False, True]
    assert before[4].intermediate_values == {1: 0.1}
    assert after[4].intermediate_values == {1: 0.1, 2: 0.2}
    assert [a is b for a, b in zip(after, look(), strict=True)] == [True] * 6
    assert look(TrialState.COMPLETE) == after[:4]
    assert len(statements) == 1, "those that run were not asked for"


def test_a_trial_seen_waiting_is_seen_to_run_and_to_end(storage):
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE])
    trial_id = storage.create_new_trial(study_id, optuna.create_trial(state=TrialState.WAITING))
    waiting, running, ended = [TrialState.WAITING], [TrialState.RUNNING], [TrialState.FAIL]
    assert len(storage.get_all_trials(study_id, states=waiting)) == 1
    storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    assert storage.get_all_trials(study_id, states=waiting) == []
    assert len(storage.get_all_trials(study_id, states=running)) == 1
    storage.set_trial_state_values(trial_id, TrialState.FAIL)
    assert storage.get_all_trials(study_id, states=running) == []
    assert len(storage.get_all_trials(study_id, states=ended)) == 1


def test_others_notes_on_a_running_trial_are_seen_within_a_second(storage, url, monkeypatch):
    monkeypatch.setattr("tuner.storage.cached_reader.ATTRIBUTES_EVERY", 0.0)
    study_id, (trial_id,) = begun(storage)
    other = storages.connect(url)
    other.get_all_trials(study_id)
    storage.set_trial_param(trial_id, "x", 0.5, DISTRIBUTIONS["float"])
    storage.set_trial_user_attr(trial_id, "note", [1])
    storage.set_trial_system_attr(trial_id, "rung", 0.25)
    (seen,) = other.get_all_trials(study_id)
    assert (seen.params, seen.user_attrs, seen.system_attrs) == (
        {"x": 0.5}, {"note": [1]}, {"rung": 0.25},
    )  # fmt: skip


def test_a_report_is_one_statement_and_what_is_written_together_one_commit(storage, statements):
    _, (trial_id,) = begun(storage)
    storage.set_trial_param(trial_id, "y", 0.5, DISTRIBUTIONS["float"])  # others' is asked once
    statements.clear()
    storage.set_trial_intermediate_value(trial_id, 1, 0.5)
    assert [text.split()[0] for text in statements if text != "COMMIT"] == ["INSERT"]
    statements.clear()
    with storage.together():
        for k in range(5):
            storage.set_trial_user_attr(trial_id, f"u{k}", k)
        storage.set_trial_system_attr(trial_id, "s", 1)
        storage.set_trial_param(trial_id, "y", 0.25, DISTRIBUTIONS["float"])
        assert statements == []
    assert statements.count("COMMIT") == 1
    seen = storage.get_trial(trial_id)
    assert (len(seen.user_attrs), seen.system_attrs, seen.params) == (5, {"s": 1}, {"y": 0.25})


def test_what_is_held_back_is_seen_by_its_thread_and_told_with_the_state(storage, statements):
    study_id, (trial_id, other) = begun(storage, 2)
    with storage.together():
        storage.set_trial_system_attr(trial_id, "grid", 3)
        assert storage.get_trial_system_attrs(trial_id) == {"grid": 3}
        storage.set_trial_user_attr(trial_id, "epochs", 9)
        storage.set_trial_user_attr(other, "epochs", 1)
        storage.set_trial_param(trial_id, "x", 0.25, DISTRIBUTIONS["float"])
        for step, number in enumerate(HARD):
            storage.set_trial_intermediate_value(trial_id, step, number)
        seen = storage.get_trial(trial_id)
        assert storage.reader.trial(trial_id).user_attrs == {}, "seen, and not yet stored"
        statements.clear()
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
        assert statements.count("COMMIT") == 1
        stored = storage.reader.trial(trial_id)
        assert (stored.user_attrs, stored.params) == (seen.user_attrs, seen.params) != ({}, {})
        assert repr(stored.intermediate_values) == repr(seen.intermediate_values)
        assert (stored.user_attrs, stored.distributions) == ({"epochs": 9}, seen.distributions)
    assert storage.get_trial(other).user_attrs == {"epochs": 1}
    with contextlib.suppress(ZeroDivisionError), storage.together():
        storage.set_trial_user_attr(other, "dropped", 1 / 0)
    with pytest.raises(UpdateFinishedTrialError), storage.together():
        storage.set_trial_user_attr(trial_id, "late", 1)
    assert storage.get_all_trials(study_id)[0].user_attrs == {"epochs": 9}


def test_threads_share_commits_and_one_that_cannot_store_harms_no_other(storage, statements):
    _, ids = begun(storage, 12)
    storage.set_trial_state_values(ids[0], TrialState.FAIL)
    hold = threading.Event()
    sa.event.listen(storage.engine, "before_cursor_execute", lambda *_: hold.wait(280))
    refused: list[int] = []
    statements.clear()

    def report(trial_id: int) -> None:
        try:
            storage.set_trial_intermediate_value(trial_id, 1, trial_id / 2)
        except UpdateFinishedTrialError:
            refused.append(trial_id)

    def together(some: list[int]) -> None:
        threads = [threading.Thread(target=report, args=(i,)) for i in some]
        hold.clear()
        for thread in threads:
            thread.start()
        while len(storage.commits.queue) < len(some) - 1:
            pass
        hold.set()
        for thread in threads:
            thread.join()

    together(ids[1:])
    wrote = [text for text in statements if text.startswith("INSERT")]
    assert len(wrote) == (11 if storage.engine.dialect.name == "mysql" else 2)
    assert statements.count("COMMIT") == 1, "the first is alone, and needs no transaction"
    together(ids)
    assert refused == [ids[0]]
    for trial_id in ids[1:]:
        assert storage.get_trial(trial_id).intermediate_values == {1: trial_id / 2}


def test_a_failure_in_a_shared_commit_is_its_owners_alone(storage):
    _, ids = begun(storage, 2)
    turn = threading.Barrier(2, timeout=280)
    failed: list[Exception] = []

    def write(trial_id: int, key: str) -> None:
        turn.wait()
        try:
            storage.set_trial_user_attr(trial_id, key, 1)
        except Exception as error:
            failed.append(error)

    for _ in range(5):
        threads = [
            threading.Thread(target=write, args=(ids[0], "good")),
            threading.Thread(target=write, args=(-1, "no such trial")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(error) for error in failed] == [KeyError] * 5
    assert storage.get_trial(ids[0]).user_attrs == {"good": 1}


class Queue:
    """A lock that knows how many threads have come to it."""

    def __init__(self, lock):
        self.lock, self.came = lock, 0

    def __enter__(self):
        self.came += 1
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)


def test_threads_that_look_at_once_share_a_look(storage, statements):
    study_id, _ = begun(storage, 3)
    storage.get_all_trials(study_id)
    hold = threading.Event()
    sa.event.listen(storage.engine, "before_cursor_execute", lambda *_: hold.wait(280))
    known = storage.reader.studies[study_id]
    statements.clear()
    known.lock = queue = Queue(known.lock)
    threads = [
        threading.Thread(target=storage.get_all_trials, args=(study_id, False)) for _ in range(8)
    ]
    for come, thread in enumerate(threads, start=1):
        thread.start()
        wait_for(lambda come=come: queue.came >= come)
    hold.set()
    for thread in threads:
        thread.join()
    assert len(statements) <= 6, "the first looked, then one for all who came meanwhile"


def test_json_of_an_attribute_is_optunas(storage, url):
    _, (trial_id,) = begun(storage)
    storage.set_trial_user_attr(trial_id, "a", ATTRIBUTES)
    with storage.engine.connect() as connection:
        text = connection.scalar(sa.text("SELECT value_json FROM trial_user_attributes"))
    assert json.loads(text) == ATTRIBUTES


def test_a_study_that_another_process_deleted_and_made_anew_is_the_new_one(url, storage):
    """SQLite gives the ids of the old one's rows to the new one's."""
    ours = optuna.create_study(storage=storage, study_name="s", direction="minimize")
    ours.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert len(storage.get_all_trials(ours._study_id)) == 3
    with stock(url) as rdb:
        optuna.delete_study(study_name="s", storage=rdb)
        with pytest.raises(KeyError):
            storage.get_all_trials(ours._study_id)
        theirs = optuna.create_study(storage=rdb, study_name="s", direction="maximize")
        theirs.optimize(lambda trial: trial.suggest_int("x", 1, 9), n_trials=4)
        again = optuna.load_study(study_name="s", storage=storage)
        assert again.direction == StudyDirection.MAXIMIZE
        assert shown(again.trials) == shown(theirs.trials)
        again.optimize(lambda trial: trial.suggest_int("x", 1, 9), n_trials=1)
        assert len(theirs.trials) == 5


def test_what_a_process_knows_of_a_replaced_study_is_read_anew_without_being_told(url, storage):
    ours = optuna.create_study(storage=storage, study_name="s")
    ours.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    ours.get_trials()
    with stock(url) as rdb:
        optuna.delete_study(study_name="s", storage=rdb)
        theirs = optuna.create_study(storage=rdb, study_name="s")
        theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        if theirs._study_id == ours._study_id:  # in SQLite alone
            assert shown(ours.trials) == shown(theirs.trials)
        else:
            with pytest.raises(KeyError):
                ours.get_trials()
