"""Replay recorded curves: how often does the interval of the false-pruning rate hold the known one?

    python -m benchmarks.pruning_rate CURVES [--replays 170] [--size 50] [--sets LCBench]

``benchmarks/pruning.py`` describes the curves and the replays, which are pruned by the default
pruner. The interval is the one that ``tuner status`` would show at the end; the audit's own is that
of Clopper and Pearson from the audited trials alone. ``--persistence 0.5`` replays drawn curves
instead, whose values at the first rung have this correlation with the final ones.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna

from benchmarks.pruning import SETS, Result, Run, configured, replay
from tuner.algorithms.pruners.audit import interval
from tuner.report.analysis.pruning_errors import Pruning, pruning
from tuner.report.summary import summarise

EPOCHS, RUNG = 20, 1 / 9


def drawn(persistence: float) -> list[list[Run]]:
    """Return 400 runs with normal final values, and a noise that fades to the end."""
    rng = np.random.default_rng(0)
    final, noise = rng.standard_normal((2, 400, 1))
    left = (1 - np.arange(1, EPOCHS + 1) / EPOCHS) / (1 - RUNG)
    curves = persistence**left * final + np.sqrt(1 - persistence ** (2 * left)) * noise
    return [[Run(EPOCHS, curve) for curve in curves]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", type=Path)
    parser.add_argument("--replays", type=int, default=170, help="for each set of curves")
    parser.add_argument("--first", type=int, default=5000, help="seed of the first replay")
    parser.add_argument("--size", type=int, default=50, help="trials in a study")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--persistence", type=float, nargs="*", default=[])
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pools = {f"drawn, {p}": drawn(p) for p in args.persistence}
    pools = pools or {name: SETS[name](args.curves) for name in args.sets}
    print(
        "| curves | studies | rate known | held | … with false prunings | width | audit's width",
        end="",
    )
    print(" | at most half | estimate | known rate |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    seeds = range(args.first, args.first + args.replays)
    for name, several in pools.items():
        print(f"| {name} | {_row(several, seeds, args.size)} |", flush=True)


def _row(pools: list[list[Run]], seeds: range, size: int) -> str:
    build = configured("pruner=rungs")
    found: list[tuple[Result, Pruning]] = []
    for seed in seeds:
        result, study = replay(pools[seed % len(pools)], build(), seed, size=size)
        if (estimate := pruning(summarise(study))) is not None:
            found.append((result, estimate))
    known = [(result, estimate) for result, estimate in found if estimate.rate is not None]
    return " | ".join([str(len(found)), str(len(known)), *_figures(known).values()])


def _figures(known: list[tuple[Result, Pruning]]) -> Mapping[str, str]:
    true = np.array([result.wrong / result.rejected for result, _ in known])
    low, high = np.array([estimate.interval for _, estimate in known]).T
    audits = np.array(
        [interval(estimate.false_prunings, estimate.audited) for _, estimate in known]
    )
    width, alone = high - low, audits[:, 1] - audits[:, 0]
    held = (low <= true) & (true <= high)
    return {
        "held": f"{held.sum()} ({held.mean():.1%})",
        "where any": f"{held[true > 0].sum()} of {(true > 0).sum()}",
        "width": f"{width.mean():.1%}",
        "audit": f"{alone.mean():.1%}",
        "half": f"{(width <= alone / 2).mean():.1%}",
        "estimate": f"{np.mean([estimate.rate for _, estimate in known]):.2%}",
        "known": f"{true.mean():.2%}",
    }


if __name__ == "__main__":
    main()
