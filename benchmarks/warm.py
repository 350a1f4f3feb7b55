"""Measure the gain of ``study.prior`` on recorded curves: warm starts from another task's best.

python -m benchmarks.warm --curves ../shared/curves --seeds 3

The prior of each task of LCBench is the one before it in ``search.TASKS``, so similar tasks are not
selected by hand. The prior's search spends 40 full trainings; its best five distinct completed
configurations, as selected by ``tuner.study.warm_start``, are tried first. Both searches run on
eight simulated workers; needs onnxruntime.
"""

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from scipy.stats import wilcoxon

from benchmarks import strategies
from benchmarks.curves import LCBENCH_SPACE, LCBench
from benchmarks.search import TASKS, WORKERS
from benchmarks.simulator import OptunaStrategy, simulate
from tuner.space.distributions import Float, Int
from tuner.space.tree import Branch, Parameter, Space
from tuner.study import warm_start
from tuner.study.queue import Item

BUDGETS = (2, 5, 10, 20, 40)
COUNT = int(strategies.settings("study/default")["prior_best"])


def search(
    name: str, seed: int, first: list[dict[str, Any]], curves: Path, cache: Path
) -> tuple[list[float], list[Item]]:
    """Return regret at the budgets, and the completed configurations, best first."""
    task = LCBench(curves / "lcbench", cache).task(name)
    strategy = strategies.OURS["tuner"](task, seed)
    assert isinstance(strategy, OptunaStrategy)
    for params in first:
        strategy.study.enqueue_trial(params)
    epochs = BUDGETS[-1] * task.epochs
    trace = simulate(task, strategy, budget=epochs, workers=WORKERS, seed=seed)
    done = strategy.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    ranked = sorted(done, key=lambda trial: -trial.values[0])
    found = [Item(trial.params, task.name) for trial in ranked]
    return [task.regret(trace.best_after(b * task.epochs)) for b in BUDGETS], found


def space() -> Space:
    kinds = {
        name: Int(d.low, d.high, d.log)
        if isinstance(d, IntDistribution)
        else Float(d.low, d.high, d.log)  # type: ignore[attr-defined]
        for name, d in LCBENCH_SPACE.items()
    }
    return Space(Branch(tuple(Parameter(name, kind) for name, kind in kinds.items())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, default=Path("../shared/curves"))
    parser.add_argument("--cache", type=Path, default=Path(".search-cache"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    cells = [(task, seed) for seed in range(asked.seeds) for task in TASKS]
    names, seeds = zip(*cells, strict=True)
    given = (itertools.repeat(asked.curves), itertools.repeat(asked.cache))
    with ProcessPoolExecutor(asked.jobs) as pool:
        cold = dict(
            zip(cells, pool.map(search, names, seeds, itertools.repeat([]), *given), strict=True)
        )
        before = [cold[TASKS[TASKS.index(name) - 1], seed][1] for name, seed in cells]
        best = [[dict(i.params) for i in warm_start.diverse(b, COUNT, space())] for b in before]
        warm = pool.map(search, names, seeds, best, *given)
        regret = np.array([[regret for regret, _ in cold.values()], [r for r, _ in warm]])
    shape = (2, asked.seeds, len(TASKS), len(BUDGETS))
    _show(regret.reshape(shape).mean(1))


def _show(regret: npt.NDArray[np.float64]) -> None:
    """Regret of shape (2, tasks, budgets), seeds averaged."""
    print(f"| after full trainings | {' | '.join(map(str, BUDGETS))} |")
    print("|---" * (len(BUDGETS) + 1) + "|")
    for k, name in enumerate(("alone", "study.prior")):
        print(f"| {name} | {' | '.join(f'{v:.2f}' for v in regret[k].mean(0))} |")
    lower = (regret[1] < regret[0]).sum(0)
    print(f"| tasks of {len(TASKS)} on which it is less | {' | '.join(map(str, lower))} |")
    tests = [
        wilcoxon(regret[1, :, b], regret[0, :, b], alternative="less").pvalue
        for b in range(len(lower))
    ]
    print(f"| p, one-sided, not corrected | {' | '.join(f'{p:.2g}' for p in tests)} |")


if __name__ == "__main__":
    main()
