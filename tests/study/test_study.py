"""The contract of every storage: exact budgets, requeues, leases, resuming, clear errors."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from tests.launched import new_database
from tuner.api import search_checks
from tuner.config.composition import Source
from tuner.errors import StorageError, StudyError
from tuner.report.terminal import status
from tuner.storage import database, tables, writes
from tuner.study import create as provenance
from tuner.study import limits, plan, study
from tuner.study.attempts import CRASHES, FIRST, FIXED, HISTORY, ORDINAL
from tuner.study.budget import Budget, Times
from tuner.study.leases import workers
from tuner.study.study import Study
from tuner.worker.proposal import Proposer
from tuner.worker.trial import overrides_of

SPACE = ["space=none", "model.width=int(interval(8,64))", "optimizer=choice(sgd,adam)"]


@pytest.fixture
def planned(url, request):
    """A function that plans a study of this test's own."""

    def make(*overrides: str) -> plan.Plan:
        name = f"study.name='{request.node.name}'"
        asked = [f"storage.url='{url}'", name, "worker.grace=60"]
        return plan.load(Source(), [*asked, *(overrides or SPACE)]).require()

    return make


def claim(opened: Study, worker: str, n_trials: int = 100, max_retries: int = 3) -> int | None:
    return opened.claim(worker, budget=Budget(n_trials=n_trials), max_retries=max_retries)


def draw(opened: Study, asked: plan.Plan, trial_id: int) -> optuna.Trial:
    trial = Proposer(asked, opened).open(trial_id)
    asked.space.suggest(trial)
    return trial


def test_a_budget_is_exact_under_concurrent_claims(planned):
    asked = planned()
    opened = provenance.open_study(asked)
    taken: list[int] = []

    def worker(k: int) -> None:
        mine = study.load(asked.storage.url, asked.study.name, grace=60, patience=5)
        mine.join(f"w{k}", "cpu")
        while (trial_id := claim(mine, f"w{k}", n_trials=20)) is not None:
            taken.append(trial_id)
            mine.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
            mine.release(f"w{k}")

    threads = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 20
    assert opened.configurations() == 20
    opened.join("late", "cpu")
    assert claim(opened, "late", n_trials=20) is None
    assert claim(opened, "late", n_trials=21) is not None


def test_a_lost_workers_trial_is_requeued_once_with_its_curve(planned):
    asked = planned()
    opened = provenance.open_study(asked)
    for worker in ("lost", "a", "b"):
        opened.join(worker, "cpu")
    trial_id = claim(opened, "lost")
    trial = draw(opened, asked, trial_id)
    trial.report(0.5, 1)
    opened.leases.expire("lost")
    retry = claim(opened, "a")
    other = claim(opened, "b")
    first, again, fresh = opened.optuna.get_trials()
    assert [first.state, again.state, fresh.state] == [
        TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING,
    ]  # fmt: skip
    assert (again._trial_id, fresh._trial_id) == (retry, other)
    assert again.params == first.params
    assert again.intermediate_values == {1: 0.5}
    assert (again.system_attrs[FIRST], again.system_attrs[HISTORY]) == (0, [0])
    assert fresh.system_attrs == {ORDINAL: 1}
    assert opened.configurations() == 2
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trial.report(0.6, 2)


def test_an_attempt_goes_by_the_number_of_its_configuration(planned, caplog):
    caplog.set_level("INFO", "tuner")
    opened = provenance.open_study(planned())
    opened.join("a", "cpu")
    opened.join("b", "cpu")
    first, _ = claim(opened, "a"), claim(opened, "b")
    for _ in range(2):
        opened.requeue(first, "SIGTERM")
        first = claim(opened, "a")
    third = opened.storage.get_trial(first)
    assert third.number == 3, "Optuna counts attempts"
    assert (third.system_attrs[FIRST], third.system_attrs[HISTORY]) == (0, [0, 2])
    assert [worker.trial_number for worker in opened.workers()] == [0, 1]
    assert [r.message for r in caplog.records if r.name == "tuner"] == [
        "trial 0 is requeued: SIGTERM"
    ] * 2


def test_a_trial_takes_no_time_while_its_worker_is_dead(planned):
    """It began 300 s ago, and its worker was last heard of 100 s ago."""
    asked = planned()
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    trial_id = claim(opened, "w")
    ago = opened.storage.get_trial(trial_id).datetime_start - timedelta(seconds=300)
    with opened.storage.engine.begin() as connection:
        began = sa.update(tables.trials).where(tables.trials.c.trial_id == trial_id)
        connection.execute(began.values(datetime_start=writes.to_utc(ago)))
    silence(opened, 100)
    opened.leases.expire("w")
    fresh = study.load(asked.storage.url, asked.study.name, grace=60, patience=5)
    found = status.summary_of(fresh)
    (row,) = found.rows
    assert (row.state, row.seconds) == ("queued", pytest.approx(200, abs=20))
    assert (found.workers, found.wall) == ([], pytest.approx(200, abs=20))
    assert [worker.silent for worker in found.lost] == [pytest.approx(100, abs=20)]
    opened.join("v", "cpu")
    assert claim(opened, "v") is not None
    ended, again = opened.optuna.get_trials()
    assert ended.duration.total_seconds() == pytest.approx(200, abs=20)
    assert again.duration is None
    (row,) = status.summary_of(opened).rows
    assert (row.state, row.seconds) == ("running", pytest.approx(200, abs=20))


def test_crashes_are_counted_and_preemptions_are_not(planned):
    asked = planned()
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    trial_id = claim(opened, "w")
    for _ in range(3):
        opened.requeue(trial_id, "SIGTERM")
        trial_id = claim(opened, "w")
    for crashes in (1, 2):
        opened.leases.expire("w")
        opened.join("w2", "cpu")
        trial_id = claim(opened, "w2", max_retries=2)
        assert opened.storage.get_trial(trial_id).system_attrs[CRASHES] == crashes
        opened.leases.leave("w2")
        opened.join("w", "cpu")
        opened.leases.hold("w", trial_id, 0)
    opened.leases.expire("w")
    opened.join("w2", "cpu")
    assert claim(opened, "w2", n_trials=1, max_retries=2) is None
    last = opened.optuna.get_trials()[-1]
    assert last.state == TrialState.FAIL
    assert "lost 3 times" in last.user_attrs["reason"]
    assert opened.configurations() == 1


def test_a_requeue_that_dies_half_way_has_done_nothing(planned, monkeypatch):
    opened = provenance.open_study(planned())
    opened.join("w", "cpu")
    trial_id = claim(opened, "w", n_trials=1)

    def die(*_args):
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(writes, "create", die)  # after the first attempt has failed
        with pytest.raises(ZeroDivisionError):
            opened.requeue(trial_id, "SIGTERM")
    (only,) = opened.optuna.get_trials()
    assert (only.state, only.system_attrs) == (TrialState.RUNNING, {ORDINAL: 0})
    opened.requeue(trial_id, "SIGTERM")
    assert [t.state for t in opened.optuna.get_trials()] == [TrialState.FAIL, TrialState.WAITING]


def test_a_claim_that_died_before_running_leaks_no_budget(planned):
    opened = provenance.open_study(planned())
    waiting = optuna.create_trial(state=TrialState.WAITING)
    left = opened.storage.create_new_trial(opened.id, template_trial=waiting)
    opened.join("w", "cpu")
    assert claim(opened, "w", n_trials=1) == left


def test_a_trial_that_another_process_made_is_drawn_like_any_other(planned):
    """Optuna's cache knows only trials that it has made or listed."""
    asked = planned("space=none", "model.width=int(interval(1,100000))", "sampler=random")
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    opened.requeue(claim(opened, "w"), "SIGTERM")  # before anything was drawn
    other = provenance.open_study(asked)
    other.join("w2", "cpu")
    trial = draw(other, asked, claim(other, "w2"))
    assert opened.storage.get_trial(trial._trial_id).params == trial.params != {}


def test_a_claim_whose_answer_was_lost_is_not_made_twice(planned, monkeypatch):
    opened = provenance.open_study(planned())
    opened.join("w", "cpu")
    locked = opened.storage.locked
    lost = [sa.exc.OperationalError("commit", {}, Exception("the connection was lost"))]

    @contextmanager
    def cut_off(study_id: int):
        with locked(study_id) as connection:
            yield connection
        if lost:
            raise lost.pop()

    monkeypatch.setattr(opened.storage, "locked", cut_off)
    claimed = claim(opened, "w")
    (only,) = opened.optuna.get_trials()
    assert (only._trial_id, only.state) == (claimed, TrialState.RUNNING)


def drop_locks(url: str) -> None:
    """Close the connections that are within a transaction, as a server's restart does."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction'"
            )
        else:
            sleeping = connection.exec_driver_sql(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
            )
            for (number,) in sleeping.all():
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql(f"KILL {number}")
    engine.dispose()


def test_a_lock_that_was_lost_half_way_admits_nobody(planned, url, monkeypatch):
    """Between the count and the new trial the lock goes, and another worker takes the last."""
    if url.startswith("sqlite"):
        pytest.skip("a file's lock is lost with its process alone")
    asked = planned()
    mine, other = provenance.open_study(asked), provenance.open_study(asked)
    for worker, opened in (("a", mine), ("b", other)):
        opened.join(worker, "cpu")
    create, taken = writes.create, []

    def cut_off(connection, *args):
        if not taken:
            taken.append(None)
            drop_locks(url)
            taken[0] = claim(other, "b", n_trials=1)
        return create(connection, *args)

    monkeypatch.setattr(writes, "create", cut_off)
    assert claim(mine, "a", n_trials=1) is None
    assert taken[0] is not None
    assert mine.configurations() == 1


def test_a_worker_that_was_struck_out_is_entered_again_as_it_claims(planned):
    opened = provenance.open_study(planned())
    opened.join("w", "cpu")
    opened.leases.leave("w")
    claimed = claim(opened, "w")
    assert [(worker.id, worker.trial_id) for worker in opened.workers()] == [("w", claimed)]


def test_seeds_do_not_depend_on_what_was_retried(planned):
    asked = planned("space=none", "model.width=int(interval(1,100000))", "sampler=random")
    calm, stormy = (
        provenance.open_study(planned(*asked.overrides[3:], f"study.name={name}"))
        for name in ("calm", "stormy")
    )
    for opened in (calm, stormy):
        opened.join("w", "cpu")
    wanted = [draw(calm, asked, claim(calm, "w")).params for _ in range(4)]
    found = []
    for _ in range(4):
        trial_id = claim(stormy, "w")
        for _ in range(2):
            stormy.requeue(trial_id, "SIGTERM")
            trial_id = claim(stormy, "w")
        found.append(draw(stormy, asked, trial_id).params)
    assert found == wanted


def test_a_rung_noted_as_the_worker_died_is_judged_again_and_earlier_ones_are_not(planned):
    asked = planned()
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    trial = draw(opened, asked, claim(opened, "w"))
    for step, value in enumerate([0.5, 0.4, 0.7, 0.6], start=1):
        trial.report(value, step)
        if step in (1, 2, 4):
            key = f"completed_rung_{step // 2}"
            opened.storage.set_trial_system_attr(trial._trial_id, key, value)
    opened.requeue(trial._trial_id, "SIGTERM")
    attrs = opened.optuna.get_trials()[-1].system_attrs
    assert {k: v for k, v in attrs.items() if "rung" in k} == {
        "completed_rung_0": 0.5,
        "completed_rung_1": 0.4,
    }


def silence(opened: Study, seconds: float, *only: str) -> None:
    """Let workers, or only some of them, have been silent for so many seconds more."""
    chosen = workers.c.id.in_(only) if only else workers.c.study_id == opened.id
    with opened.storage.engine.begin() as connection:
        heard = sa.update(workers).where(chosen)
        connection.execute(heard.values(beat=workers.c.beat - seconds))


def test_who_is_back_first_after_an_outage_does_not_count_the_others_as_lost(planned):
    opened = provenance.open_study(planned("space=none", "model.width=int(interval(8,64))"))
    for worker in ("slow", "quick"):
        opened.join(worker, "cpu")
    held = claim(opened, "slow")
    silence(opened, 80)  # longer than worker.grace
    opened.leases.heard -= 80
    opened.leases.since -= 80
    assert opened.leases.beat("quick")
    assert claim(opened, "quick", n_trials=1) is None
    assert opened.leases.beat("slow"), "it is back too, and its trial is its own"
    silence(opened, 80, "slow")  # now it alone
    opened.leases.since -= 40
    taken = claim(opened, "quick", n_trials=1)
    assert opened.storage.get_trial(taken).system_attrs[HISTORY] == [0]
    assert opened.storage.get_trial(held).state == TrialState.FAIL


def test_leases_run_out_by_the_databases_clock(planned):
    opened = provenance.open_study(planned())
    opened.join("w", "cuda:0")
    (row,) = opened.workers()
    assert (row.alive, row.device, row.trial_id) == (True, "cuda:0", None)
    assert abs(row.beat - time.time()) < 60
    silence(opened, 80)
    assert not opened.workers()[0].alive
    assert opened.leases.beat("w")
    assert opened.workers()[0].alive
    opened.leases.leave("w")
    assert not opened.leases.beat("w")


@pytest.mark.parametrize(("silent", "alive"), [(30, True), (80, False)])
def test_a_lease_holds_for_all_of_the_grace(planned, silent, alive):
    opened = provenance.open_study(planned())
    opened.join("w", "cpu")
    silence(opened, silent)
    assert [worker.alive for worker in opened.workers()] == [alive]
    claim(opened, "w")
    assert opened.workers()[0].alive, "a claim is a sign of life"


def test_a_process_is_lost_with_all_its_places_and_with_no_other(planned):
    opened = provenance.open_study(planned())
    for worker in ("w", "w.1", "w2", "w_1"):
        opened.join(worker, "cpu")
    assert opened.leases.expire("w")
    assert {worker.id for worker in opened.workers() if worker.expired} == {"w", "w.1"}
    assert not opened.leases.expire("v"), "it had struck itself out"


def test_workers_of_another_study_keep_their_trials(planned):
    mine, other = (
        provenance.open_study(planned()),
        provenance.open_study(planned(*SPACE, "study.name=other")),
    )
    other.join("w", "cpu")
    held = claim(other, "w")
    other.leases.expire("w")
    mine.join("v", "cpu")
    assert claim(mine, "v") is not None
    assert [worker.id for worker in mine.workers()] == ["v"]
    assert other.storage.get_trial(held).state == TrialState.RUNNING
    other.join("u", "cpu")
    assert claim(other, "u") is not None
    assert other.storage.get_trial(held).state == TrialState.FAIL


def test_time_at_work_is_counted_once_for_the_study_and_for_each_device(planned):
    """By booked intervals: of two workers on one device, and of one on another."""
    opened = provenance.open_study(planned())
    clock = opened.clock
    for device in ("gpu", "cpu"):
        clock.start(device)
    now = clock.book({}, None, 0.0)[0]
    assert opened.times() == Times()
    for rates, since, hours, device_hours in (
        ({"": 1, "gpu": 1}, now - 3600, 1, 1),
        ({"": 1, "gpu": 1}, now - 3600, 1, 1),  # at the same time
        ({"": 1, "cpu": 4}, now - 7200, 1, 9),  # before a booked hour: it is not filled up again
    ):
        booked, times = clock.book(rates, since, 10**6)
        assert booked >= now
        assert (times.hours, times.device_hours) == pytest.approx((hours, device_hours), abs=0.02)
    assert clock.book({"": 1}, booked - 9999, at_most=0.0)[1].hours == pytest.approx(1, abs=0.02)
    assert clock.book({"": 1}, booked + 9999, 10**6)[1].hours == pytest.approx(1, abs=0.02)


def test_while_nobody_works_no_time_passes(planned):
    opened = provenance.open_study(planned())
    shift = opened.clock.start("gpu", 2)
    time.sleep(0.2)
    shift.book()
    worked = opened.times()
    assert worked.hours * 3600 > 0.1
    assert worked.device_hours == pytest.approx(2 * worked.hours)
    time.sleep(0.2)
    later = opened.clock.start("gpu")
    assert later.booked == worked
    time.sleep(0.2)
    assert later.times().hours > worked.hours, "known without asking the database"


def test_a_copied_study_knows_what_it_cost_and_goes_on(planned):
    """Two workers took turns on one device: the times of their trials add up to twice as much."""
    asked = planned()
    opened = provenance.open_study(asked)
    for worker in ("a", "b"):
        opened.join(worker, "cpu")
    first, second = (claim(opened, worker) for worker in ("a", "b"))
    shift = opened.start("host cpu", 1)
    shift.since, shift.booked_at = shift.since - 300, shift.booked_at - 300
    shift.book()
    done = draw(opened, asked, first)
    done.study.tell(done, 0.5)
    copy = f"a copy of {opened.name}"
    optuna.copy_study(
        from_study_name=opened.name,
        from_storage=opened.storage,
        to_storage=opened.storage,
        to_study_name=copy,
    )
    copied = study.load(asked.storage.url, copy, grace=60, patience=5)
    hours = opened.times().device_hours
    assert hours == pytest.approx(300 / 3600, abs=5 / 3600)
    assert copied.times() == opened.times()
    assert status.summary_of(copied).device_hours == hours
    again = copied.start("another cpu", 1)
    assert again.times().device_hours == pytest.approx(hours, abs=5 / 3600)
    copied.join("c", "cpu")
    taken = copied.storage.get_trial(claim(copied, "c"))
    assert taken.system_attrs[FIRST] == opened.storage.get_trial(second).number


def test_resuming_is_the_same_command_and_another_space_is_refused(planned, caplog):
    provenance.open_study(planned())
    assert provenance.open_study(planned()).attrs["metric"] == "accuracy"
    changed = [SPACE[0], "model.width=int(interval(8,128))", SPACE[2]]
    caplog.set_level("WARNING", logger="tuner")
    provenance.open_study(planned(*changed))
    assert "int 8 to 64 → int 8 to 128" in caplog.text
    for wrong, shown in (
        ([*SPACE[:2], "optimizer=choice(sgd,adamw)"], "~ optimizer: one of sgd, adam → one of"),
        ([*SPACE, "model.depth=int(interval(1,2))"], "+ model.depth: int 1 to 2"),
        (SPACE[:2], "- optimizer: one of sgd, adam"),
        ([*SPACE, "study.direction=minimize"], "study.direction: stored 'maximize'"),
        ([*SPACE, "study.metric=auroc"], "study.metric: stored 'accuracy'"),
        ([*SPACE, "seed=1"], "seed: stored 0, requested 1"),
    ):
        with pytest.raises(StudyError) as caught:
            provenance.open_study(planned(*wrong))
        assert shown in str(caught.value)
        assert "another study.name" in str(caught.value)
    provenance.open_study(planned(*SPACE, "trainer.epochs=99"))
    assert "epochs: 99" in caplog.text


def test_stock_optuna_reads_the_study(planned):
    asked = planned()
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    trial = draw(opened, asked, claim(opened, "w"))
    trial.report(0.25, 1)
    trial.study.tell(trial, 0.5)
    rdb = optuna.storages.RDBStorage(asked.storage.url)
    stock = optuna.load_study(study_name=asked.study.name, storage=rdb)
    assert stock.best_value == 0.5
    assert stock.metric_names == ["accuracy"]
    assert set(stock.best_params) == {"model.width", "optimizer"}
    rdb.scoped_session.remove()
    rdb.engine.dispose()


def test_seeds_differ_between_trials_and_survive_a_restart(planned):
    asked = planned("space=none", "model.width=int(interval(1,100000))", "sampler=random")

    def first(count: int) -> list[int]:
        opened = provenance.open_study(asked)
        opened.join("w", "cpu")
        drawn = []
        for _ in range(count):
            trial = draw(opened, asked, claim(opened, "w"))
            trial.study.tell(trial, 0.0)
            drawn.append(trial.params["model.width"])
        return drawn

    assert len({*first(5), *first(5)}) == 10


def test_a_grid_ends_when_it_is_done(planned):
    asked = planned(
        "space=none", "model.kernel_size=choice(3,5)", "model.depth=int(interval(1,3))",
        "sampler=grid",
    )  # fmt: skip
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    assert limits.budget(asked).n_trials == 6
    seen = set()
    while (trial_id := claim(opened, "w", n_trials=6)) is not None:
        trial = draw(opened, asked, trial_id)
        seen.add(tuple(trial.params.values()))
        trial.study.tell(trial, 0.0)
    assert len(seen) == 6


def test_a_missing_study_lists_those_that_exist(planned):
    asked = planned()
    provenance.open_study(asked)
    with pytest.raises(StudyError, match=r"has no study 'absent'; hint: it has .*missing_study"):
        study.load(asked.storage.url, "absent", grace=60, patience=1)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("not a url", "not a database URL"),
        ("sqlite://", "in memory cannot be shared"),
        ("sqlite:////proc/nowhere/x.db", "cannot be written to"),
        ("postgresql+psycopg://u:hunter2@127.0.0.1:1/db", r"cannot open .*u:\*\*\*@127"),
        ("oracle://u:p@h/db", "no driver"),
    ],
)
def test_a_bad_url_is_one_clear_error(url, what):
    with pytest.raises(StorageError, match=what) as caught:
        database.connect(url)
    assert "hint:" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_many_who_open_a_new_database_at_once_all_find_it_whole(postgresql):
    """As tables are made by two at once, PostgreSQL refuses one: pg_type_typname_nsp_index."""
    url = new_database(postgresql)
    start = threading.Barrier(8)

    def join(_: int) -> int:
        start.wait()
        rdb = database.connect(url)
        found = len(rdb.get_all_studies())
        rdb.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(join, range(8))) == [0] * 8


def test_studies_made_at_once_in_a_new_database_do_not_collide(postgresql):
    overrides = [f"storage.url='{new_database(postgresql)}'", *SPACE]
    plans = [plan.load(Source(), [*overrides, f"study.name='study {k}'"]) for k in range(4)]
    start = threading.Barrier(4)

    def create(k: int) -> str:
        start.wait()
        return provenance.open_study(plans[k].require()).name

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(create, range(4))) == [f"study {k}" for k in range(4)]


def test_sqlite_takes_the_write_lock_when_a_transaction_begins(tmp_path: Path):
    rdb = database.connect(f"sqlite:///{tmp_path}/s.db")
    other = sqlite3.connect(tmp_path / "s.db", timeout=0.05)
    with rdb.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


FLAT = ["space=none", "model.dropout=interval(0,0.5)", "model.activation=choice(relu,elu,gelu)"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "qmc", "nsga2"])
@pytest.mark.parametrize("space", [FLAT, ["space=digits"]], ids=["flat", "conditional"])
def test_no_sampler_repeats_itself(tmp_path, sampler, space):
    """A sampler is made anew for each trial: none may start from the same state each time."""
    asked = plan.load(
        Source(), [f"storage.url='sqlite:///{tmp_path}/s.db'", f"sampler={sampler}", *space]
    ).require()
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    drawn = []
    for value in range(14):
        trial = draw(opened, asked, claim(opened, "w"))
        drawn.append(trial.params)
        trial.study.tell(trial, value / 14)
    numbers = [str({k: v for k, v in params.items() if isinstance(v, float)}) for params in drawn]
    assert len(set(numbers)) >= 10  # a Gaussian process may well ask twice at a bound
    names = {name for params in drawn for name in params}
    for name in names:
        seen = [params[name] for params in drawn if name in params]
        if len(seen) >= 8:
            assert len(set(map(repr, seen))) > 1, f"{name} never varies"


def test_a_study_whose_creator_died_half_way_is_completed(planned):
    asked = planned()
    rdb = database.connect(asked.storage.url)
    rdb.create_new_study([optuna.study.StudyDirection.MAXIMIZE], asked.study.name)
    assert provenance.open_study(asked).attrs["metric"] == "accuracy"


def test_a_study_of_somebody_elses_is_left_alone(planned):
    asked = planned()
    stranger = optuna.create_study(
        study_name=asked.study.name, storage=database.connect(asked.storage.url)
    )
    stranger.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(StudyError, match="was not created by tuner"):
        provenance.open_study(asked)


EVIL = {"optimizer": "evil", "objective._target_": "os.system"}


@pytest.mark.parametrize(
    "template",
    [
        {
            "params": {"optimizer": "evil"},
            "distributions": {"optimizer": CategoricalDistribution(["evil"])},
        },
        {"system_attrs": {FIXED: EVIL}, "user_attrs": {"overrides": ["objective._target_=evil"]}},
    ],
    ids=["drawn", "fixed"],
)
def test_what_a_stranger_has_queued_is_drawn_from_our_space_or_not_at_all(planned, template):
    asked = planned("space=none", "optimizer=choice(adamw,sgd)")
    opened = provenance.open_study(asked)
    opened.join("w", "cpu")
    waiting = optuna.create_trial(state=TrialState.WAITING, **template)
    opened.storage.create_new_trial(opened.id, waiting)
    trial_id = claim(opened, "w")
    with pytest.raises(ValueError, match=r"evil|dynamic value space"):
        overrides_of(asked, opened, Proposer(asked, opened).open(trial_id))


def test_a_grid_too_large_to_list_is_refused_at_once():
    asked = plan.load(Source(), ["space=none", "sampler=grid", "model.width=range(1,100000000)"])
    assert search_checks.mistakes(asked)[0].problem == "grid: model.width has 99999999 values"
