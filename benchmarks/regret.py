"""Tables, tests and a plot of the runs that ``search.py`` has cached.

python -m benchmarks.regret --cache DIR [--seeds 10] [--plot benchmarks/search.svg]

Only pairs of task and seed that every contender has run are used. The first contender is compared
with each other one by Wilcoxon's signed-rank test, and p-values are corrected by Holm's step-down
for the number of comparisons: at each budget over pairs of task and seed (marked ``*``), and for
the mean over the budgets over tasks, with seeds averaged, so that two runs of a task do not count
as two tasks.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

from benchmarks import strategies
from benchmarks.search import BUDGETS, TASKS, TASKS_HELP, TIMED_HELP, Cell, abscissae, named

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """Results of one contender on the pairs that all have: (tasks, seeds, budgets) or points."""

    name: str
    regret: Floats
    curve: Floats
    jobs: float

    @property
    def mean(self) -> Floats:
        return np.asarray(self.regret.mean((0, 1)))


def load(
    cache: Path, names: Sequence[str], tasks: Sequence[str], seeds: int, timed: bool = False
) -> list[Runs]:
    """Return the runs of contenders that have all tasks, for the seeds that all of them have."""
    found: dict[str, dict[tuple[str, int], dict[str, list[float]]]] = {}
    for name in names:
        cells = [Cell(name, task, seed, timed) for task in tasks for seed in range(seeds)]
        found[name] = {
            (c.task, c.seed): json.loads(c.path(cache).read_text())
            for c in cells
            if c.path(cache).exists()
        }
    whole = [s for s in range(seeds) if all((t, s) in f for f in found.values() for t in tasks)]
    if not whole:
        raise SystemExit("no seed is complete; hint: --only with fewer contenders, or run more")

    def stack(name: str, key: str) -> Floats:
        return np.array([[found[name][t, s][key] for s in whole] for t in tasks], float)

    return [
        Runs(n, stack(n, "regret"), stack(n, "curve"), float(stack(n, "jobs").mean()))
        for n in names
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's step-down correction (1979), keeping the order."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[k]))
        corrected[k] = highest
    return [float(p) for p in corrected]


def p_value(ours: Floats, other: Floats) -> float:
    """Return the one-sided p-value that tuner is not lower than the other, paired."""
    difference = (ours - other).ravel()
    return 1.0 if not difference.any() else float(wilcoxon(difference, alternative="less").pvalue)


def table(runs: Sequence[Runs]) -> list[str]:
    """Return mean regret at the budgets in Markdown, the best after ten full trainings first.

    ``*``: tuner is lower, p < 0.01. The last columns are the number of tasks on which tuner's mean
    over budgets is lower, its p-value, and the number of trials.
    """
    ours, others = runs[0], runs[1:]
    compared = [(o, b) for o in others for b in range(len(BUDGETS)) if not np.isnan(o.mean[b])]
    each = holm([p_value(ours.regret[..., b], o.regret[..., b]) for o, b in compared])
    marked = {(o.name, b) for (o, b), p in zip(compared, each, strict=True) if p < 0.01}
    tasks = {r.name: r.regret.mean((1, 2)) for r in runs if not np.isnan(r.mean).any()}
    rivals = [o.name for o in others if o.name in tasks]
    corrected = holm([p_value(tasks[ours.name], tasks[name]) for name in rivals])
    whole = dict(zip(rivals, corrected, strict=True))
    wins = {name: int((tasks[ours.name] < tasks[name]).sum()) for name in rivals}
    head = [
        f"| after full trainings | {' | '.join(map(str, BUDGETS))} | mean | tasks | p | trials |"
    ]
    lines = [*head, "|---" * (len(BUDGETS) + 5) + "|"]
    for r in sorted(runs, key=lambda r: float(r.mean[1])):
        cells = [f"{value:.2f}{'*' * ((r.name, b) in marked)}" for b, value in enumerate(r.mean)]
        against = [f"{wins[r.name]}", f"{whole[r.name]:.2g}"] if r.name in whole else ["", ""]
        text = [r.name, *cells, f"{r.mean.mean():.2f}", *against, f"{r.jobs:.0f}"]
        lines.append(f"| {' | '.join(text)} |")
    return lines


def share_needed(ours: Runs, other: Runs) -> list[float]:
    """Return the fraction of each budget after which tuner has the other's mean regret.

    It is infinite if that is not reached within the whole run.
    """
    curve, spent = ours.curve.mean((0, 1)), abscissae()
    shares = []
    for budget, wanted in zip(BUDGETS, other.mean, strict=True):
        there = [x for x, value in zip(spent, curve, strict=True) if value <= wanted]
        shares.append(there[0] / budget if there else float("inf"))
    return shares


def plot(runs: Sequence[Runs], path: Path) -> None:
    """Plot mean regret against epochs in full trainings, on logarithmic axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5))
    spent = abscissae()
    for k, r in enumerate(runs):
        style = {"linewidth": 2.5, "color": "black"} if k == 0 else {"linewidth": 1.2}
        axes.plot(spent, r.curve.mean((0, 1)), label=r.name, **style)
    axes.set(xscale="log", yscale="log", xlabel="epochs spent, in full trainings")
    axes.set_ylabel("mean normalised regret")
    axes.legend(fontsize=7)
    axes.grid(which="both", alpha=0.2)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(".search-cache"))
    parser.add_argument("--tasks", nargs="*", default=TASKS, help=TASKS_HELP)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(strategies.CONTENDERS))
    parser.add_argument("--timed", action="store_true", help=TIMED_HELP)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    runs = load(asked.cache, asked.only, named(asked.tasks), asked.seeds, asked.timed)
    print(f"{runs[0].regret.shape[0]} tasks, {runs[0].regret.shape[1]} seeds\n")
    print("\n".join(table(runs)))
    for other in runs[1:]:
        shares = ", ".join(f"{share:.2f}" for share in share_needed(runs[0], other))
        print(f"{runs[0].name} needs of the budget of {other.name}: {shares}")
    if asked.plot:
        plot(runs, asked.plot)


if __name__ == "__main__":
    main()
