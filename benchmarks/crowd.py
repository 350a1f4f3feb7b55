"""Measure many concurrent workers on a real PostgreSQL: tuner and plain Optuna, alternating.

    python -m benchmarks.crowd       # minutes on a quiet machine
    python -m benchmarks.crowd --workers 1000 --what report --sides ours --seconds 10

Workers are threads of a few processes (``--processes``), each with its own trial. A report is
durable when the call returns, because the server's ``fsync`` is on; the benchmark counts what the
database holds at the end. CPU time per report is that of all processes here, without the server. An
ask is a claim under the study's lock, or Optuna's ``ask``, without parameters; each ends its trial.
At most 256 workers ask, because they wait for each other, and each gets its turn before the end.
``budget`` lets 256 of tuner's workers ask for 2,000 configurations, and fails unless exactly this
number is given out.
"""

import argparse
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from benchmarks.storage import planned, quiet
from tests import servers
from tuner.storage import writes
from tuner.storage.trial_storage import Trials
from tuner.study import create, study
from tuner.study.budget import Budget

BUDGET = 2000
ASKERS = 256
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Crowd:
    """The number of workers, their action and their database."""

    url: str
    name: str
    side: str
    workers: int
    processes: int
    seconds: float
    budget: int | None = None
    """Configurations to ask for; None: report instead."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 16, 64, 256, 1000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--sides", nargs="*", default=["ours", "Optuna"])
    parser.add_argument("--what", nargs="*", default=["report", "ask", "budget"])
    args = parser.parse_args()
    quiet()
    with servers.postgresql() as url:
        for workers in args.workers:
            for what in args.what:
                for side in args.sides:
                    if not sensible(what, side, workers):
                        continue
                    name = f"{what}-{side}-{workers}"
                    budget = {"ask": 10**6, "budget": BUDGET}.get(what)
                    processes = min(args.processes, workers)
                    crowd = Crowd(url, name, side, workers, processes, args.seconds, budget)
                    print(f"{workers:5} workers, {side:6}: {run(crowd)}", flush=True)


def sensible(what: str, side: str, workers: int) -> bool:
    """Return whether the measurement is meaningful and terminates."""
    if what == "budget":
        return side == "ours" and workers == ASKERS
    return what == "report" or workers <= ASKERS


def run(crowd: Crowd) -> str:
    """Run one measurement and describe its result."""
    opened = create.open_study(planned(crowd.url, crowd.name))
    start = SPAWN.Barrier(crowd.processes + 1)
    found = SPAWN.Queue()
    processes = [
        SPAWN.Process(target=work, args=(crowd, k, start, found)) for k in range(crowd.processes)
    ]
    for process in processes:
        process.start()
    start.wait(120)
    ends = [found.get(timeout=600 + crowd.seconds) for _ in processes]
    for process in processes:
        process.join()
    seconds, cpu = max(e[0] for e in ends), sum(e[1] for e in ends)
    table = writes.trials if crowd.budget is not None else writes.curves
    mine = sa.select(writes.trials.c.trial_id).where(writes.trials.c.study_id == opened.id)
    counted = sa.select(sa.func.count()).where(table.c.trial_id.in_(mine))
    if crowd.budget is not None:
        counted = counted.where(writes.trials.c.state == TrialState.COMPLETE)
    with opened.storage.single.connect() as connection:
        count = connection.scalar(counted) or 0
    what = "asks" if crowd.budget is not None else "reports"
    made = sum(e[2] for e in ends)
    assert made == count, f"{made} were made, {count} are stored"
    if crowd.budget == BUDGET:
        assert count == opened.configurations() == BUDGET, f"{count} of {BUDGET}"
        what = f"asks (exactly {BUDGET})"
    opened.storage.close()
    return f"{count / seconds:8,.0f} {what}/s, {1e3 * cpu / max(1, count):6.2f} ms of CPU each"


def work(crowd: Crowd, k: int, start: Barrier, found: Any) -> None:
    """Run one process of workers; return seconds, CPU seconds and the number of actions."""
    quiet()
    make = {"ours": ours, "Optuna": plain}[crowd.side]
    count = crowd.workers // crowd.processes + (k < crowd.workers % crowd.processes)
    acts, close = make(crowd, k, count)
    done = [0] * count
    go = threading.Event()
    stop = [0.0]

    def one(place: int) -> None:
        go.wait()
        while time.monotonic() < stop[0] and acts[place](done[place] + 1):
            done[place] += 1

    threads = [threading.Thread(target=one, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    start.wait(120)
    began, cpu = time.monotonic(), cpu_seconds()
    stop[0] = began + (600 if crowd.budget == BUDGET else crowd.seconds)
    go.set()
    for thread in threads:
        thread.join()
    found.put((time.monotonic() - began, cpu_seconds() - cpu, sum(done)))
    close()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


Act = Callable[[int], bool]
"""Performs the nth action; returns False once nothing is left to do."""


def ours(crowd: Crowd, k: int, count: int) -> tuple[list[Act], Callable[[], None]]:
    opened = study.load(crowd.url, crowd.name, grace=600, patience=60)
    storage: Trials = opened.storage
    if crowd.budget is None:
        return [reporter(storage, opened.id) for _ in range(count)], storage.close
    budget = Budget(n_trials=crowd.budget)

    def asker(worker: str) -> Act:
        opened.join(worker, "cpu")

        def act(_: int) -> bool:
            trial_id = opened.claim(worker, budget=budget, max_retries=3)
            if trial_id is None:
                return False
            storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
            opened.release(worker)
            return True

        return act

    return [asker(f"w{k}.{place}") for place in range(count)], storage.close


def plain(crowd: Crowd, k: int, count: int) -> tuple[list[Act], Callable[[], None]]:
    """Return one storage per process, with a connection per thread up to 40."""
    del k
    pool = {"pool_pre_ping": True, "pool_size": 40, "max_overflow": 0, "pool_timeout": 600}
    rdb = optuna.storages.RDBStorage(crowd.url, engine_kwargs=pool)
    stock = optuna.load_study(
        study_name=crowd.name, storage=rdb, sampler=optuna.samplers.RandomSampler()
    )

    def close() -> None:
        rdb.engine.dispose()

    if crowd.budget is None:
        return [reporter(rdb, stock._study_id) for _ in range(count)], close

    def act(_: int) -> bool:
        stock.tell(stock.ask(), 0.5)
        return True

    return [act] * count, close


def reporter(storage: optuna.storages.BaseStorage, study_id: int) -> Act:
    trial_id = storage.create_new_trial(study_id)

    def act(step: int) -> bool:
        storage.set_trial_intermediate_value(trial_id, step, 0.5)
        return True

    return act


if __name__ == "__main__":
    main()
