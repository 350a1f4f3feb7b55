"""Race finalists over paired seeds: retrain them to decide which one is best.

The best of many trials was selected by its score, so the score is optimistic. In a race, each
finalist is retrained with the same new seeds and scored on the validation split; the test split is
not used. Effects of a seed that are common to all finalists cancel in the differences.

After each round, from the second on, a finalist is dropped if its mean is significantly worse than
the leader's, by a one-sided t-test over paired seeds. The variance of differences is estimated from
all remaining finalists, with (finalists - 1)(seeds - 1) degrees of freedom, because two or three
pairs alone are hardly informative; for two finalists this is the paired test. The truly best of
``k`` finalists is compared with up to ``k - 1`` others in ``n - 1`` rounds, so each test has the
level ``error / ((k - 1)(n - 1))`` (Bonferroni; the scheme is that of Maron and Moore, "Hoeffding
Races", 1993). If scores are normal with equal variance, the truly best is therefore dropped with a
probability of at most ``error`` over the whole race. If all differences are equal (scores are
counts over few images), no deviation can be estimated, and the sign test, ``2 ** -n``, is used.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.report.analysis.intervals import student
from tuner.report.final_record import Finalist, Lead, Race

Training = tuple[int, int]
"""The number of a finalist, and a seed."""
Value = Callable[[int, int], float | None]
"""Returns the value of a training: NaN if it ended without one, None if it has not ended."""


@dataclass(frozen=True)
class Standing:
    """The standing of a race: what must be trained next, or the result."""

    needed: Sequence[Training]
    """The trainings to start next: those of this round that have no value yet, then those of the
    next round, for workers that would be idle. The latter are wasted if their finalist is dropped.
    """
    race: Race | None
    """The result; None while trainings are needed, and if no finalist has a value."""
    said: Sequence[str]
    """Sentences on which finalists were dropped, and why."""


def standing(
    finalists: Sequence[Finalist],
    *,
    seeds: Sequence[int],
    error: float,
    maximize: bool,
    value: Value,
) -> Standing:
    """Return the standing of a race, given the values known so far.

    A race consists of rounds with one seed each, and ends when one finalist is left or all seeds
    are used. The result depends only on the values, so trainings may run in parallel and end in any
    order. A finalist with a value in a round may start the next round before the others have
    theirs; values of rounds that are not reached are ignored.

    A finalist with a non-finite value is dropped. If finalists are equal, the first in the list
    wins.

    Args:
        finalists: The configurations, best first.
        seeds: One seed for each round.
        error: Maximum probability that the truly best finalist is dropped.
        maximize: Whether larger values are better.
        value: Returns the value of a training.
    """
    sign = 1.0 if maximize else -1.0
    level = error / max(1, (len(finalists) - 1) * (len(seeds) - 1))
    finalists = [Finalist(f.number, f.overrides) for f in finalists]
    left, said = finalists, list[str]()
    for place, seed in enumerate(seeds, start=1):
        found = {f.number: value(f.number, seed) for f in left}
        known = {number: score for number, score in found.items() if score is not None}
        if len(known) < len(left):
            needed = [(number, seed) for number in found if number not in known]
            finite = [number for number, score in known.items() if math.isfinite(score)]
            needed += [(n, s) for s in seeds[place:][:1] for n in finite if value(n, s) is None]
            return Standing(needed, None, said)
        for finalist in left:
            finalist.values.append(known[finalist.number])
        said += [f"#{f.number} is dropped from the race: no value" for f in left if not _whole(f)]
        if not (left := [f for f in left if _whole(f)]):
            return Standing([], None, said)
        leader = max(left, key=lambda f: sign * f.mean)
        stays = [f for f in left if f is leader or _p_value(leader, f, left, sign) >= level]
        said += [
            f"#{f.number} is dropped from the race: worse than #{leader.number}"
            for f in left
            if f not in stays
        ]
        left = stays
        if len(left) == 1 or (place > 1 and all(len(set(f.values)) == 1 for f in left)):
            break  # one is left, or seeds have no effect
    winner = max(left, key=lambda f: sign * f.mean)
    return Standing([], Race(finalists, winner.number, _lead(winner, finalists, sign)), said)


def _whole(finalist: Finalist) -> bool:
    return all(map(math.isfinite, finalist.values))


def _p_value(leader: Finalist, other: Finalist, left: Sequence[Finalist], sign: float) -> float:
    """Return the p-value that the leader is not better, from paired seeds; 1 for one seed."""
    gains = _gains(leader, other, sign)
    if len(gains) < 2:
        return 1.0
    from scipy.special import stdtr  # type: ignore[import-untyped]  # 0.2 s, and workers import this

    mean, (sd, freedom) = statistics.fmean(gains), _spread(left, len(gains))
    if sd == 0:
        return 0.5 ** len(gains) if mean > 0 else 1.0
    return 1.0 - float(stdtr(freedom, mean / (sd / math.sqrt(len(gains)))))


def _spread(finalists: Sequence[Finalist], count: int) -> tuple[float, int]:
    """Return the standard deviation of a difference over ``count`` seeds, and its freedom.

    It is computed from the residuals after subtracting the means of finalists and of seeds; it is 0
    if these residuals are only rounding errors.
    """
    rows = [f.values[:count] for f in finalists if len(f.values) >= count]
    seeds = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    centred = [[v - s for v, s in zip(row, seeds, strict=True)] for row in rows]
    residuals = [v - statistics.fmean(row) for row in centred for v in row]
    freedom = (len(rows) - 1) * (count - 1)
    largest = max(abs(v) for row in rows for v in row)
    if max(map(abs, residuals)) <= 1e-9 * largest:
        return 0.0, freedom
    return math.sqrt(2 * sum(r * r for r in residuals) / freedom), freedom


def _lead(winner: Finalist, finalists: Sequence[Finalist], sign: float) -> Lead | None:
    whole = [f for f in finalists if _whole(f)]
    rivals = [f for f in whole if f is not winner and len(f.values) > 1]
    if not rivals:
        return None
    rival = min(rivals, key=lambda f: (-len(f.values), statistics.fmean(_gains(winner, f, sign))))
    gains = _gains(winner, rival, sign)
    mean, (sd, freedom) = statistics.fmean(gains), _spread(whole, len(gains))
    half = student(freedom) * sd / math.sqrt(len(gains))
    interval = (mean - half, mean + half) if sd else None
    return Lead(rival.number, mean, interval, len(gains))


def _gains(leader: Finalist, other: Finalist, sign: float) -> list[float]:
    pairs = zip(leader.values, other.values, strict=False)
    return [sign * (mine - theirs) for mine, theirs in pairs]
