"""Replay pruners on recorded curves: is the best kept, at which cost, and is the audit correct?

    python benchmarks/pruning.py CURVES [--batches 200] [--only rungs …] [--images 100 [--untold]]

CURVES is a directory with ``alexnet/`` (512 configurations of AlexNet on ImageNet, schedules of 20
to 100 epochs; nicholaslourie/opda, CC BY-SA 4.0), ``taskset/`` (6 tasks of 1,000 configurations and
51 epochs; machinelearningnuremberg/DyHPO, Apache-2.0) and ``lcbench/`` (a surrogate of 51 epochs,
12 tasks; slds-lmu/yahpo_data, Apache-2.0). A batch is 64 random configurations, run by 8
asynchronous workers. Everything goes through Optuna as in a real study. With ``--images``, an
accuracy is reported as the fraction of so many images classified correctly, drawn again for
each epoch and configuration.
"""

import argparse
import heapq
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
from optuna.pruners import BasePruner
from optuna.trial import Trial, TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.curves import LCBENCH_EPOCHS, LCBENCH_SPACE, LCBench, decode
from benchmarks.search import TASKS
from tuner.algorithms.pruners.audit import interval, would_prune_at
from tuner.algorithms.pruners.factory import build_pruner
from tuner.algorithms.pruners.score_error import EXAMPLES
from tuner.config import composition
from tuner.study.fidelity import LENGTH

SIZE, WORKERS = 64, 8


@dataclass(frozen=True)
class Run:
    """One recorded training; larger is better.  What diverged has fewer values than epochs."""

    epochs: int
    values: npt.NDArray[np.float64]

    @property
    def diverged(self) -> bool:
        return len(self.values) < self.epochs

    @property
    def cost(self) -> int:
        """Epochs without pruning; that in which it diverges counts."""
        return len(self.values) + self.diverged

    def scored_on(self, images: int, *seed: int) -> "Run":
        """Return the run as a validation set of so many images shows it."""
        rng = np.random.default_rng([images, *seed])
        return Run(self.epochs, rng.binomial(images, np.clip(self.values, 0, 1)) / images)


@dataclass
class Result:
    """What became of a batch."""

    kept: bool
    """Whether the best of the batch, or its equal, was trained to its end."""
    cost: float
    """Epochs as a share of those without pruning."""
    lost: float
    """Difference between the best of the batch and the chosen one, the best by its last report."""
    rejected: int = 0
    wrong: int = 0
    """Rejected ones that beat every survivor, known from the record."""
    audited: int = 0
    found: int = 0
    """… and those of them that the audit saw."""


def alexnet(folder: Path) -> list[list[Run]]:
    lines = (folder / "alexnet" / "alexnet_tuning.results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [[_run(r["epochs"], [p["top_1"] for p in r["learning_curve"]]) for r in records]]


def taskset(folder: Path) -> list[list[Run]]:
    """The six tasks; losses are negated."""
    found = []
    for path in sorted((folder / "taskset").glob("*.json")):
        losses = [record["valid"]["loss"] for record in json.loads(path.read_text())]
        found.append([_run(51, [np.nan if x is None else -x for x in loss]) for loss in losses])
    return found


def lcbench(folder: Path) -> list[list[Run]]:
    """Validation accuracy of 400 random networks of up to 5 layers on each of 12 tables, 0 to 1."""
    bench = LCBench(folder / "lcbench", folder)
    points = np.random.default_rng(0).random((400, len(LCBENCH_SPACE)))
    configurations = [decode(point, LCBENCH_SPACE) for point in points]
    found = [bench.curves(bench.codes[task], configurations) for task in TASKS]
    return [[_run(LCBENCH_EPOCHS, list(curve / 100)) for curve in curves] for curves in found]


def _run(epochs: int, values: list[float]) -> Run:
    curve = np.array(values, float)
    bad = np.flatnonzero(~np.isfinite(curve))
    return Run(epochs, curve[: bad[0]] if len(bad) else curve)


def replay(
    pool: list[Run],
    pruner: BasePruner,
    seed: int,
    *,
    images: int | None = None,
    told: bool = True,
    size: int = SIZE,
    workers: int = WORKERS,
) -> tuple[Result, optuna.Study]:
    """One batch; epochs of a configuration last one unit of time, give or take a tenth.

    With ``images``, reports are drawn from a binomial distribution; the pruner is told if ``told``.
    """
    rng = np.random.default_rng(seed)
    batch = [pool[i] for i in rng.choice(len(pool), size, replace=False)]
    seen = (
        batch if images is None else [run.scored_on(images, seed, n) for n, run in enumerate(batch)]
    )
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name=f"batch-{seed}")
    for run in batch:
        attrs = {LENGTH: run.epochs, **({EXAMPLES: images} if images and told else {})}
        study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attrs))
    spent = 0
    events: list[tuple[float, int, int, float, Trial]] = []

    def start(now: float) -> None:
        if len(study.get_trials(deepcopy=False, states=[TrialState.WAITING])):
            trial = study.ask()
            unit = float(rng.uniform(0.9, 1.1))
            heapq.heappush(events, (now + unit, trial.number, 1, unit, trial))

    for _ in range(workers):
        start(0.0)
    while events:
        now, number, epoch, unit, trial = heapq.heappop(events)
        spent += 1
        if _goes_on(study, seen[number], trial, epoch):
            heapq.heappush(events, (now + unit, number, epoch + 1, unit, trial))
        else:
            start(now)
    return _result(study, batch, spent), study


def _goes_on(study: optuna.Study, run: Run, trial: Trial, epoch: int) -> bool:
    """Report one epoch; False when the trial is over."""
    if epoch > len(run.values):  # diverged: cut at once, as tuner does whatever the pruner
        study.tell(trial, state=TrialState.FAIL)
        return False
    trial.report(float(run.values[epoch - 1]), epoch)
    if epoch == run.epochs:
        study.tell(trial, float(run.values[-1]))
        return False
    if trial.should_prune():
        study.tell(trial, state=TrialState.PRUNED)
        return False
    return True


def _result(study: optuna.Study, batch: list[Run], spent: int) -> Result:
    trials = study.get_trials(deepcopy=False)
    final = {n: -np.inf if run.diverged else run.values[-1] for n, run in enumerate(batch)}
    done = {t.number for t in trials if t.state == TrialState.COMPLETE}
    audited = {t.number for t in trials if would_prune_at(t) is not None}
    rejected = audited | {t.number for t in trials if t.state == TrialState.PRUNED}
    survivors = max((final[n] for n in done - audited), default=-np.inf)
    wrong = {n for n in rejected if final[n] > survivors}
    chosen = max(done, key=lambda n: trials[n].values[0], default=None)
    return Result(
        lost=max(final.values()) - (0.0 if chosen is None else final[chosen]),
        kept=max((final[n] for n in done), default=-np.inf) >= max(final.values()),
        cost=spent / sum(run.cost for run in batch),
        rejected=len(rejected),
        wrong=len(wrong),
        audited=len(audited),
        found=len(wrong & audited),
    )


SETS = {"AlexNet": alexnet, "TaskSet": taskset, "LCBench": lcbench}


def configured(*overrides: str) -> Callable[[], BasePruner]:
    """A pruner as ``tuner tune`` would build it, for a schedule of 51 epochs."""
    cfg = composition.Source().compose(["trainer.epochs=51", *overrides])
    return lambda: build_pruner(cfg)


PRUNERS = {
    "rungs": ["pruner=rungs"],
    "rungs, none audited": ["pruner=rungs", "pruner.audited=0"],
    "rungs, a quarter audited": ["pruner=rungs", "pruner.audited=0.25"],
    "median": ["pruner=median"],
    "successive_halving": ["pruner=successive_halving"],
    "hyperband": ["pruner=hyperband"],
    "patient": ["pruner=patient"],
    "none": ["pruner=none"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first batch")
    parser.add_argument("--only", nargs="*", default=list(PRUNERS))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--size", type=int, default=SIZE, help="configurations in a batch")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--images", type=int, help="size of the simulated validation set")
    parser.add_argument("--untold", action="store_true", help="do not tell the pruner the size")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sets = {name: SETS[name](args.curves) for name in args.sets}
    print("| pruner | curves | keeps the best | cost | wrong kills, known | … as audited | lost |")
    print("|---|---|---|---|---|---|---|")
    for name in args.only:
        build = configured(*PRUNERS.get(name, name.split()))
        for curves, pools in sets.items():
            seeds = range(args.first, args.first + args.batches)
            asked = {key: getattr(args, key) for key in ("images", "size", "workers")}
            found = [
                replay(pools[s % len(pools)], build(), s, told=not args.untold, **asked)[0]
                for s in seeds
            ]
            print(f"| {name} | {curves} | {_told(found)} |", flush=True)


def _told(found: list[Result]) -> str:
    kept, cost = np.mean([r.kept for r in found]), np.mean([r.cost for r in found])
    wrong, rejected = sum(r.wrong for r in found), sum(r.rejected for r in found)
    hits, audited = sum(r.found for r in found), sum(r.audited for r in found)
    lost = np.mean([r.lost for r in found])
    error = np.sqrt(kept * (1 - kept) / len(found))
    known = f"{wrong / rejected:.2%} of {rejected}" if rejected else "none"
    low, high = interval(hits, audited)
    told = f"{hits / audited:.2%} ({low:.2%} to {high:.2%}) of {audited}" if audited else "none"
    return f"{kept:.1%} ± {error:.1%} | {cost:.1%} | {known} | {told} | {lost:.4f}"


if __name__ == "__main__":
    main()
