"""Run searches of tuner and others on recorded curves: regret against epochs spent.

    python -m benchmarks.search --curves ../shared/curves --seeds 10      # runs what is not cached
    python -m benchmarks.regret                                           # tables and tests

One run is eight simulated workers that together spend the epochs of 100 full trainings. Each is
cached in its own file, so that the benchmark may be stopped (``--minutes``) and resumed. Needs
onnxruntime.
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import strategies
from benchmarks.curves import LCBench, Task
from benchmarks.peers import PEERS
from benchmarks.simulator import simulate
from benchmarks.tables import AlexNet, TaskSet

TASKS = [
    *("168908", "189862", "167168", "3945", "126025", "167104"),
    *("168331", "7593", "34539", "126026", "126029", "146212"),
]
"""Tasks of LCBench for development; the others are for confirmation only."""
TASKSET = [
    f"FixedTextRNNClassification_imdb_{network}"
    for network in (
        *("patch128_LSTM128_bs64", "patch32_GRU128_bs128", "patch32_IRNN64_relu_avg_bs128"),
        *("patch32_LSTM128_E128_bs128", "patch32_VRNN128_tanh_bs128"),
        "patch32_VRNN64_tanh_avg_bs128",
    )
]
BUDGETS = (5, 10, 20, 40, 100)
"""Numbers of full trainings at which regret is compared."""
WORKERS = 8
POINTS = 40
"""Number of points of a regret curve, evenly spaced in the logarithm of the epochs."""


@dataclass(frozen=True)
class Cell:
    """One run: contender, task and seed; budgets are seconds instead of epochs if ``timed``."""

    contender: str
    task: str
    seed: int
    timed: bool = False

    def path(self, cache: Path) -> Path:
        key = f"{self.contender} {strategies.digest(self.contender)}"
        name = hashlib.sha256(key.encode()).hexdigest()[:12]
        clock = "-seconds" if self.timed else ""
        return cache / name / f"{self.task}-{self.seed}{clock}.json"


def run(cell: Cell, curves: Path, cache: Path) -> None:
    """Run one cell and store its regret at the budgets and as a curve."""
    path = cell.path(cache)
    if path.exists():
        return
    task = replace(load(cell.task, curves, cache), timed=cell.timed)
    peer = PEERS.get(cell.contender)
    make = peer.make if peer else strategies.CONTENDERS[cell.contender]
    strategy = make(task, cell.seed)
    most = peer.full_trainings if peer else BUDGETS[-1]
    began = time.process_time()
    trace = simulate(task, strategy, budget=most * task.unit, workers=WORKERS, seed=cell.seed)

    def regret(full_trainings: float) -> float:
        known = full_trainings <= most
        return task.regret(trace.best_after(full_trainings * task.unit)) if known else math.nan

    kept = {
        "contender": cell.contender,
        "regret": [regret(b) for b in BUDGETS],
        "curve": [regret(x) for x in abscissae()],
        "jobs": trace.jobs,
        "completed": trace.completed,
        "seconds": time.process_time() - began,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(kept))
    path.with_suffix(".tmp").rename(path)


TASKS_HELP = "of LCBench or TaskSet, taskset for all six of that, or alexnet"

TIMED_HELP = "budgets are device seconds of full trainings, not epochs (LCBench, AlexNet)"


def named(tasks: Sequence[str]) -> Sequence[str]:
    return TASKSET if tasks == ["taskset"] else tasks


def load(name: str, curves: Path, cache: Path) -> Task:
    """Load a task of LCBench, whose names are numbers, of TaskSet, or AlexNet."""
    if name.isdigit():
        return LCBench(curves / "lcbench", cache).task(name)
    if name == "alexnet":
        return AlexNet(curves / "alexnet").task()
    return TaskSet(curves / "taskset").task(name)


def abscissae() -> list[float]:
    """Return the points of a curve in full trainings, from one on."""
    return [float(x) for x in np.geomspace(1, BUDGETS[-1], POINTS)]


def run_all(cells: Sequence[Cell], curves: Path, cache: Path, jobs: int, minutes: float) -> int:
    """Run cells until none are left or the minutes are over; return how many are left."""
    os.environ["OMP_NUM_THREADS"] = "1"
    end = time.monotonic() + 60 * minutes
    todo = [cell for cell in cells if not cell.path(cache).exists()]
    with ProcessPoolExecutor(jobs) as pool:
        for k in range(0, len(todo), 4 * jobs):
            if time.monotonic() > end:
                break
            batch = todo[k : k + 4 * jobs]
            list(pool.map(run, batch, itertools.repeat(curves), itertools.repeat(cache)))
    return sum(not cell.path(cache).exists() for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, default=Path("../shared/curves"))
    parser.add_argument("--cache", type=Path, default=Path(".search-cache"))
    parser.add_argument("--tasks", nargs="*", default=TASKS, help=TASKS_HELP)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(strategies.CONTENDERS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timed", action="store_true", help=TIMED_HELP)
    parser.add_argument("--minutes", type=float, default=1e9)
    asked = parser.parse_args()
    missing = [f"{name}: {PEERS[name].missing()}" for name in asked.only if name in PEERS]
    if any(not line.endswith(": ") for line in missing):
        raise SystemExit("\n".join(line for line in missing if not line.endswith(": ")))
    asked.cache.mkdir(parents=True, exist_ok=True)
    tasks = named(asked.tasks)
    cells = [
        Cell(c, t, s, asked.timed) for s in range(asked.seeds) for t in tasks for c in asked.only
    ]
    left = run_all(cells, asked.curves, asked.cache, asked.jobs, asked.minutes)
    print(f"{len(cells) - left} of {len(cells)} runs are done")


if __name__ == "__main__":
    main()
