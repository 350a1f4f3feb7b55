"""Simulate races of finalists on scores with known truth: who wins, and what is saved.

python -m benchmarks.finals [--races 1500]

The means of 24 configurations are normal and ``spread`` times the noise over seeds apart. The best
few by one noisy score each (that of the search) are raced by ``tuner.final.race`` with new seeds.
"""

import argparse
from functools import partial

import numpy as np
import numpy.typing as npt

from tuner.final.race import Training, standing
from tuner.report.final_record import Finalist

CONFIGURATIONS = 24
SPREADS = (0.3, 1.0, 3.0, 10.0)
FORMS = ((1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 5))
"""Numbers of finalists and seeds; one finalist is the best trial of the search."""


def _value(scores: dict[Training, float], number: int, seed: int) -> float | None:
    return scores.get((number, seed))


def one(
    spread: float, finalists: int, seeds: int, draw: np.random.Generator
) -> tuple[bool, int, float]:
    """Return whether the best finalist wins, the number of trainings, and the shortfall.

    The shortfall is the difference to the best of all configurations, in units of the noise.
    """
    truth = spread * draw.normal(size=CONFIGURATIONS)
    seen = truth + draw.normal(size=CONFIGURATIONS)
    best = [int(k) for k in np.argsort(-seen)[:finalists]]
    scores: dict[Training, float] = {}
    result = None
    while result is None:
        now = standing(
            [Finalist(k, []) for k in best],
            seeds=range(seeds),
            error=0.1,
            maximize=True,
            value=partial(_value, scores),
        )
        scores |= {(k, seed): float(truth[k] + draw.normal()) for k, seed in now.needed}
        result = now.race
    right = truth[result.winner] == truth[best].max()
    return right, result.trainings, truth.max() - truth[result.winner]


def measured(spread: float, finalists: int, seeds: int, races: int) -> npt.NDArray[np.float64]:
    draw = np.random.default_rng(0)
    found = [one(spread, finalists, seeds, draw) for _ in range(races)]
    return np.asarray(np.mean(np.array(found, float), axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=1500)
    asked = parser.parse_args()
    print("| spread | finalists, seeds | best of them named | trainings | of | lacks |")
    print("|---|---|---|---|---|---|")
    for spread in SPREADS:
        for finalists, seeds in FORMS:
            right, count, lacks = measured(spread, finalists, seeds, asked.races)
            told = f"{spread:g} | {finalists} x {seeds} | {right:.0%} | {count:.1f}"
            print(f"| {told} | {finalists * seeds} | {lacks:.2f} |", flush=True)


if __name__ == "__main__":
    main()
