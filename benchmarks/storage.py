"""Measure a study in its database: tuner and plain Optuna, in one process, alternating.

    python -m benchmarks.storage --backend postgresql     # minutes on a quiet machine; or sqlite
    python -m benchmarks.storage --trials 10000 1000+256 --sampler tpe --rounds 9

Each study has 8 parameters and 10 reports per trial. All trials are COMPLETE, except those after
the ``+``, which run elsewhere. A worker's cold start is everything from the URL to the first trial
with its parameters sampled; ``ask`` is one more such trial; ``report``, ``prune`` and ``tell`` are
those of a running one. ``tpe`` is the default sampler of each side; random sampling shows the cost
of the storage. The pruner is the default of each side. Plain Optuna uses
``optuna.load_study(storage=url)``; tuner claims under the budget's lock, like a worker.
``benchmarks/crowd.py`` has many concurrent workers.
"""

import argparse
import functools
import gc
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import optuna
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import Trial, TrialState

from tests import servers
from tuner.algorithms.pruners.merged_attempts import TrialPruner
from tuner.config.composition import Source
from tuner.storage import writes
from tuner.study import create, plan, study
from tuner.study.attempts import ORDINAL
from tuner.study.budget import Budget
from tuner.study.fidelity import LENGTH
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.proposal import Proposer

PARAMETERS, REPORTS = 8, 10
SPACE = ["space=none", *(f"model.p{k}=interval(0,1)" for k in range(PARAMETERS))]
Cost = tuple[float, float]
"""Seconds by the clock and of this process's CPU; the server's are in the first alone."""
STEPS = ("cold start", "ask", "report", "prune", "tell")
WIDE = Budget(n_trials=10**9)


class Side(Protocol):
    """Optuna or ours: what a worker does, step by step."""

    def ask(self) -> Trial: ...
    def report(self, trial: Trial, step: int, value: float) -> None: ...
    def prune(self, trial: Trial) -> bool: ...
    def tell(self, trial: Trial, value: float) -> None: ...
    def close(self) -> None: ...


class Ours:
    """As ``tuner worker`` does it."""

    def __init__(self, asked: Plan, worker: str = "w") -> None:
        self.asked = asked
        self.worker = worker
        self.study = study.load(asked.storage.url, asked.study.name, grace=60, patience=60)
        self.proposer = Proposer(asked, self.study)
        self.study.join(worker, "cpu")

    def ask(self) -> Trial:
        trial_id = self.study.claim(self.worker, budget=WIDE, max_retries=3)
        assert trial_id is not None
        trial = self.proposer.open(trial_id)
        with self.study.storage.together():
            self.asked.space.suggest(trial)
        self.pruner = TrialPruner(trial)
        return trial

    def report(self, trial: Trial, step: int, value: float) -> None:
        trial.report(value, step)

    def prune(self, trial: Trial) -> bool:
        return self.pruner.should_prune()

    def tell(self, trial: Trial, value: float) -> None:
        trial.study.tell(trial, value)
        self.study.release(self.worker)

    def close(self) -> None:
        self.study.leases.leave(self.worker)
        self.study.storage.close()


class Plain:
    """Optuna as its own documentation has it."""

    def __init__(self, asked: Plan) -> None:
        rdb = optuna.storages.RDBStorage(
            asked.storage.url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2}
        )
        self.rdb = rdb
        by_name: dict[str, optuna.samplers.BaseSampler] = {
            "tpe": optuna.samplers.TPESampler(seed=0),
            "random": optuna.samplers.RandomSampler(seed=0),
        }
        sampler = by_name[asked.study.name.partition("-")[0]]
        self.study = optuna.load_study(
            study_name=asked.study.name,
            storage=rdb,
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(),
        )

    def ask(self) -> Trial:
        trial = self.study.ask()
        for k in range(PARAMETERS):
            trial.suggest_float(f"model.p{k}", 0, 1)
        return trial

    def report(self, trial: Trial, step: int, value: float) -> None:
        trial.report(value, step)

    def prune(self, trial: Trial) -> bool:
        return trial.should_prune()

    def tell(self, trial: Trial, value: float) -> None:
        self.study.tell(trial, value)

    def close(self) -> None:
        self.rdb.remove_session()
        self.rdb.engine.dispose()


SIDES: dict[str, Callable[[Plan], Side]] = {"ours": Ours, "Optuna": Plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", nargs="*", default=list(DATABASES), choices=DATABASES)
    parser.add_argument("--trials", nargs="*", default=["100", "1000", "1000+256", "10000"])
    parser.add_argument("--sampler", nargs="*", default=["tpe", "random"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", type=int, default=2, help="cold starts of each side")
    args = parser.parse_args()
    quiet()
    print("Medians in ms (CPU of this process)\n")
    print(f"| {' | '.join(['database', 'trials', 'sampler', 'side', *STEPS])} |")
    print("|---" * (4 + len(STEPS)) + "|")
    for backend in args.backend:
        with DATABASES[backend]() as url:
            for trials in args.trials:
                for sampler in args.sampler:
                    asked = planned(url, f"{sampler}-{trials}", f"sampler={sampler}")
                    finished, _, running = trials.partition("+")
                    fill(create.open_study(asked), int(finished), int(running or 0))
                    show([backend, trials, sampler], compare(asked, args.cold, args.rounds))


def quiet() -> None:
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"sqlite:///{directory}/study.db"


DATABASES = {"sqlite": sqlite, "postgresql": servers.postgresql}


def planned(url: str, name: str, *more: str) -> Plan:
    overrides = [f"storage.url='{url}'", f"study.name='{name}'", *SPACE, *more]
    return plan.load(Source(), overrides, validate=False).require()


def compare(asked: Plan, cold: int, rounds: int) -> dict[str, dict[str, Cost]]:
    """Medians in ms, by side and step; the sides take turns."""
    times: dict[str, dict[str, list[Cost]]] = {s: defaultdict(list) for s in SIDES}
    sides: dict[str, Side] = {}
    for turn in range(cold):
        for name, make in SIDES.items():
            if turn:
                sides.pop(name).close()
            gc.collect()
            with clocked(times[name]["cold start"]):
                sides[name] = make(asked)
                trial = sides[name].ask()
            sides[name].tell(trial, 0.5)
    for _ in range(rounds):
        for name, side in sides.items():
            live(side, times[name])
    for side in sides.values():
        side.close()
    return {
        name: {step: medians(costs) for step, costs in found.items()}
        for name, found in times.items()
    }


def medians(costs: list[Cost]) -> Cost:
    """In milliseconds."""
    walls, cpus = zip(*costs, strict=True)
    return 1e3 * statistics.median(walls), 1e3 * statistics.median(cpus)


def live(side: Side, times: dict[str, list[Cost]]) -> None:
    """One trial's life."""
    with clocked(times["ask"]):
        trial = side.ask()
    for step in range(1, REPORTS + 1):
        with clocked(times["report"]):
            side.report(trial, step, 0.5)
        with clocked(times["prune"]):
            side.prune(trial)
    with clocked(times["tell"]):
        side.tell(trial, 0.5)


@contextmanager
def clocked(costs: list[Cost]) -> Iterator[None]:
    began, cpu = time.perf_counter(), time.process_time()
    yield
    costs.append((time.perf_counter() - began, time.process_time() - cpu))


def show(case: list[str], found: dict[str, dict[str, Cost]]) -> None:
    """A row of a table in Markdown for each side."""
    for name, steps in found.items():
        cells = [f"{shown(wall)} ({shown(cpu)})" for wall, cpu in map(steps.__getitem__, STEPS)]
        print(f"| {' | '.join([*case, name, *cells])} |", flush=True)


def shown(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}"


def fill(opened: Study, finished: int, running: int = 0) -> None:
    """Trials by the thousand, in a few statements: what workers would have left behind."""
    rng = random.Random(0)
    known = opened.configurations()
    count = finished + running
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    distribution = distribution_to_json(FloatDistribution(0, 1))
    heads = [
        {
            "number": known + k,
            "study_id": opened.id,
            "state": TrialState.COMPLETE if k < finished else TrialState.RUNNING,
            "datetime_start": start,
            "datetime_complete": start if k < finished else None,
        }
        for k in range(count)
    ]
    tables: dict[sa.Table, list[dict[str, Any]]] = defaultdict(list)
    with opened.storage.engine.begin() as connection:
        connection.execute(sa.insert(writes.trials), heads)
        mine = sa.select(writes.trials.c.trial_id).where(writes.trials.c.study_id == opened.id)
        ids = connection.scalars(mine.order_by(writes.trials.c.number).offset(known)).all()
        for k, trial_id in enumerate(ids):
            each = functools.partial(dict, trial_id=trial_id)
            for p in range(PARAMETERS):
                drawn = {"param_name": f"model.p{p}", "param_value": rng.random()}
                tables[writes.params].append(each(**drawn, distribution_json=distribution))
            for step in range(1, REPORTS + 1):
                tables[writes.curves].append(writes.report(trial_id, step, rng.random()).row)
            if k < finished:
                tables[writes.values].append(writes.value(trial_id, 0, rng.random()).row)
            text = [f"model.p{p}=0.1234567890123" for p in range(PARAMETERS)]
            for name, item in {"overrides": text, "run_dir": "runs/x", "host": "h"}.items():
                tables[writes.user_attributes].append(writes.user(trial_id, name, item).row)
            for key, item in {ORDINAL: known + k, LENGTH: REPORTS}.items():
                tables[writes.system_attributes].append(writes.system(trial_id, key, item).row)
        for table, rows in tables.items():
            for begin in range(0, len(rows), 20_000):
                connection.execute(sa.insert(table), rows[begin : begin + 20_000])


if __name__ == "__main__":
    main()
