"""Report the false-pruning rate and the savings of the pruner.

``tuner.algorithms.pruners.audit`` defines the terms. The audit alone gives an unbiased estimate
without any assumption, but a small study audits hardly any trial. Until enough audited trials have
ended, the rate is therefore estimated by ``rank_persistence`` from all trials, with the outcomes of
those that were audited.
"""

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tuner.algorithms.pruners import audit as audits
from tuner.report.analysis.rank_persistence import Rung, false_prunings, normal_scores
from tuner.report.configurations import Row
from tuner.report.formatting import percent
from tuner.report.summary import Summary
from tuner.study import fidelity

UNKNOWN_SAVING = "What pruning saved is unknown: no completed configuration has a curve."
ENOUGH_AUDITED = 50
"""Number of audited trials from which on the audit alone counts: with no errors, 0 to 7 %."""
LEAST_COMPLETED = 3
"""Number of completed trials from which on ranks at the end can be compared with earlier ones."""
WIDEST = 0.9
"""Width of an interval that says nothing, so that the rate is shown as unknown."""
STEP = 1.25
"""Ratio of the successive fractions of a schedule at which trials are compared."""


@dataclass(frozen=True)
class Pruning:
    """Numbers of trials that the pruner rejected, and of false prunings among them.

    ``audited`` trials have ended, and ``false_prunings`` are among these. ``completed`` trials
    include audited ones. ``rate`` is the estimated false-pruning rate, None if unknown, and
    ``interval`` its 95 % interval.
    """

    pruned_or_audited: int
    audited: int
    false_prunings: int
    completed: int
    rate: float | None
    interval: tuple[float, float]

    def __str__(self) -> str:
        if self.rate is None:
            return (
                f"false-pruning rate: unknown before {LEAST_COMPLETED} configurations with curves "
                f"are completed, {self.completed} so far"
            )
        if self.interval[1] - self.interval[0] > WIDEST:
            return (
                f"false-pruning rate: unknown, {self.pruned_or_audited} pruned and "
                f"{self.completed} completed configurations are too few"
            )
        low, high = map(percent, self.interval)
        basis = f"{self.false_prunings} of {self.audited} audited"
        if self.audited < ENOUGH_AUDITED:
            basis = f"from the ranks of {self.completed} completed ones, {basis}"
        return (
            f"false-pruning rate: {percent(self.rate)} of {self.pruned_or_audited} "
            f"(95 % interval {low} to {high}; {basis})"
        )


def pruning(summary: Summary) -> Pruning | None:
    """Return the false-pruning rate; None if no trial was rejected or none survived."""
    audited = [row for row in summary.rows if row.would_prune_at is not None]
    completed = [row for row in summary.ranking if row.repeats is None]
    survivors = [row for row in completed if row.would_prune_at is None]
    rejected = len(summary.pruned) + len(audited)
    if not rejected or not survivors:
        return None
    best = summary.loss(survivors[0].value)
    ended = [row for row in audited if row.over]
    done = (row for row in ended if row.state == "complete")
    errors = sum(summary.loss(row.value) < best for row in done)
    curves = [row for row in completed if row.curve]
    rate, interval = _estimate(summary, curves, len(ended), errors)
    return Pruning(rejected, len(ended), errors, len(curves), rate, interval)


def _estimate(
    summary: Summary, completed: Sequence[Row], audited: int, errors: int
) -> tuple[float | None, tuple[float, float]]:
    """Return the rate and its interval, from the audit if it is large enough."""
    if audited >= ENOUGH_AUDITED:
        return errors / audited, audits.interval(errors, audited)
    full = summary.full_length
    survived = any(row.would_prune_at is None for row in completed)
    if len(completed) < LEAST_COMPLETED or full is None or not survived:
        return None, (0.0, 1.0)
    open_ = [row for row in summary.rows if row.would_prune_at is not None and not row.over]
    rungs = list(_rungs(summary, completed, [*summary.pruned, *open_], full))
    rejected = audited + sum(len(rung.rejected) for rung in rungs)
    if not rejected:
        return None, (0.0, 1.0)
    rates = (errors + false_prunings(rungs)) / rejected
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(rates.mean()), (float(low), float(high))


def _rungs(
    summary: Summary, completed: Sequence[Row], rejected: Sequence[Row], full: int
) -> Iterator[Rung]:
    """Yield rejected trials without an outcome by the fraction at which they were rejected."""
    groups: dict[int, list[Row]] = {}
    for row in rejected:
        if step := row.would_prune_at or row.epoch:
            fraction = math.floor(math.log(step / (row.length or full), STEP))
            groups.setdefault(min(fraction, 0), []).append(row)
    final = np.array([-summary.loss(row.value) for row in completed])
    survived = np.array([row.would_prune_at is None for row in completed])
    rivals = [row for row in summary.rows if row.curve and row.repeats is None]
    for fraction, rows in sorted(groups.items()):
        seen = _values(summary, rivals, STEP**fraction, full)
        pool = np.array([value for value in seen.values() if math.isfinite(value)])
        here, there = (np.array([seen[row.number] for row in of]) for of in (rows, completed))
        yield Rung(normal_scores(here, pool), normal_scores(there, pool), final, survived)


def _values(
    summary: Summary, rows: Sequence[Row], fraction: float, full: int
) -> Mapping[int, float]:
    """Return the values at a fraction of the schedule by number, larger ones better.

    A completed trial that needed fewer steps counts with its last; others are left out.
    """
    found = {}
    for row in rows:
        steps = sorted(row.curve)
        at = bisect.bisect_left(steps, fidelity.step_at(fraction, row.length or full))
        if at < len(steps) or row.state == "complete":
            found[row.number] = -summary.loss(row.curve[steps[min(at, len(steps) - 1)]])
    return found


def line(summary: Summary) -> str | None:
    """Return rate and savings as one line, None if no trial was pruned."""
    found = pruning(summary)
    if found is None:
        return None
    saved = (
        f"{len(summary.pruned)} pruned, {percent(summary.epochs_saved_fraction)} of epochs saved"
    )
    return f"{saved}; {found}"


def as_data(summary: Summary) -> dict[str, Any] | None:
    """Return the rate as plain data."""
    found = pruning(summary)
    return None if found is None else asdict(found)
