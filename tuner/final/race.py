"""Race finalists over paired seeds: retrain them to decide which one is best.

The best of many trials was selected by its score, so part of the score is luck. In a race, each
finalist is retrained with the same new seeds and scored on the validation split; the test split is
not used. Effects of a seed that are common to all finalists cancel in the differences.

After each round, from the second on, a finalist is dropped if its mean is behind the leader's by a
one-sided t-test over paired seeds. The variance of differences is estimated from all remaining
finalists, with (finalists - 1)(seeds - 1) degrees of freedom, because two or three pairs alone are
hardly informative; for two finalists this is the paired test. The truly best of ``k`` finalists can
meet ``k - 1`` others in ``n - 1`` rounds, and each test has the level ``error / ((k - 1)(n - 1))``
(Bonferroni; the scheme is that of Maron and Moore, "Hoeffding Races", 1993). If scores are normal
with equal variance, the truly best is therefore dropped with a probability of at most ``error``
over the whole race. If all differences are equal (scores are counts of few images), no deviation
can be estimated, and the sign test, ``2 ** -n``, is used.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from tuner.report.final_record import Finalist, Lead, Race

Training = tuple[int, int]
"""The number of a finalist, and a seed."""
Value = Callable[[int, int], float | None]
"""Returns the value of a training: NaN if it ended without one, None while it is not known."""


@dataclass(frozen=True)
class Standing:
    """The standing of a race: what must be trained next, or the result."""

    needed: Sequence[Training]
    """The trainings to start next: those of this round that have no value yet, then those of the
    next round, for workers that would be idle. The latter are in vain if their finalist is dropped.
    """
    race: Race | None
    """The result; None while trainings are needed, and if no finalist has a value."""
    said: Sequence[str]
    """Which finalists have left the race, and why."""


def standing(
    finalists: Sequence[Finalist],
    *,
    seeds: Sequence[int],
    error: float,
    maximize: bool,
    value: Value,
) -> Standing:
    """Return where a race stands, given the values known so far.

    It goes round by round, one seed each, until one finalist is left or all seeds are used. It is
    a function of the values alone, so that trainings may run in parallel and end in any order. A
    finalist that has its value of a round may start the next one before the others have theirs;
    values of a round that it does not come to are ignored.

    A finalist with a non-finite value is dropped. Of equal finalists the first in the list wins.
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
    mean, (sd, freedom) = statistics.fmean(gains), _spread(left, len(gains))
    if sd == 0:
        return 0.5 ** len(gains) if mean > 0 else 1.0
    return 1.0 - float(stdtr(freedom, mean / (sd / math.sqrt(len(gains)))))


def _spread(finalists: Sequence[Finalist], count: int) -> tuple[float, int]:
    """Return the standard deviation of a difference over ``count`` seeds, and its freedom.

    It is computed from the residuals after subtracting the means of finalists and of seeds; 0 if
    they are only rounding errors of equal differences.
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
    half = float(stdtrit(freedom, 0.975)) * sd / math.sqrt(len(gains))
    interval = (mean - half, mean + half) if sd else None
    return Lead(rival.number, mean, interval, len(gains))


def _gains(leader: Finalist, other: Finalist, sign: float) -> list[float]:
    pairs = zip(leader.values, other.values, strict=False)
    return [sign * (mine - theirs) for mine, theirs in pairs]
