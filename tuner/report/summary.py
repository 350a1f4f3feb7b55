"""Summarise a study as one row per configuration, with the values that all views share.

``tuner.report.configurations`` merges a trial and its retries into one row.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from statistics import median_high
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuner.report import formatting
from tuner.report.configurations import STATES, Row, merged, spans
from tuner.study.attempts import first_number
from tuner.study.budget import Budget, LimitUse, Spent, Times
from tuner.study.leases import Worker


@dataclass(frozen=True)
class Summary:
    """The state of a study at one moment.

    ``space`` maps every parameter ever suggested to its latest distribution; ``wall`` is the number
    of seconds with at least one running attempt; ``attrs`` are the study's user attributes;
    ``budget`` has each limit that is set (``study.n_trials``, ``budget.hours``, …) and how much of
    it is spent; ``workers`` are the active ones, if known.
    """

    name: str
    metric: str
    maximize: bool
    rows: Sequence[Row]
    space: Mapping[str, BaseDistribution]
    wall: float
    attrs: Mapping[str, Any]
    budget: Sequence[LimitUse] = ()
    times: Times = field(default_factory=Times)
    workers: Sequence[Worker] = ()
    lost: Sequence[Worker] = ()
    """Dead workers whose trials have not been requeued yet."""
    objectives: Mapping[str, bool] = field(default_factory=dict)
    """Each objective, the metric first, and whether it is maximised; see
    ``tuner.report.analysis.pareto``."""

    @property
    def searched(self) -> tuple[list[str], list[list[str]]]:
        """The search space as stored, or else as suggested: titles, and one row per parameter.

        There is no column of conditions if the space has none.
        """
        stored = self.attrs.get("space") or [
            {"name": name, "distribution": str(kind)} for name, kind in self.space.items()
        ]
        columns = {"name": "parameter", "distribution": "distribution", "condition": "only with"}
        if not any(item.get("condition") for item in stored):
            del columns["condition"]
        rows = [[str(item.get(key) or "") for key in columns] for item in stored]
        return list(columns.values()), rows

    @property
    def is_final(self) -> bool:
        """Whether this is the study of ``tuner final``, whose trials are trainings."""
        return "final" in self.attrs

    @property
    def aim(self) -> str:
        """The objectives and constraints in words."""
        objectives = self.objectives or {self.metric: self.maximize}
        return formatting.aim(objectives, self.attrs.get("constraints"))

    @property
    def counts(self) -> dict[str, int]:
        """The number of configurations by state; every state is present."""
        seen = Counter(row.state for row in self.rows)
        return {state: seen[state] for state in STATES}

    @property
    def tally(self) -> str:
        """The counts that are not 0 as text; empty without a configuration."""
        return ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)

    @property
    def over(self) -> int:
        return sum(row.over for row in self.rows)

    @property
    def ranking(self) -> list[Row]:
        """Completed configurations, best first; ties are ordered by age, the oldest first."""
        done = [row for row in self.rows if row.state == "complete" and row.value is not None]
        return sorted(done, key=lambda row: (self.loss(row.value), row.number))

    @property
    def best(self) -> Row | None:
        return next(iter(self.ranking), None)

    @property
    def hourly(self) -> float | None:
        """Finished configurations per hour of work time, None before one is finished."""
        return 3600 * self.over / self.wall if self.over and self.wall > 0 else None

    @property
    def epochs(self) -> int:
        """Epochs run by all configurations; repeated epochs of retries count once."""
        return sum(len(row.curve) for row in self.rows)

    @property
    def pruned(self) -> list[Row]:
        """Configurations stopped by the pruner, without infeasible ones."""
        return [row for row in self.rows if row.state == "pruned"]

    @property
    def full_length(self) -> int | None:
        """Epochs of a typical completed configuration (their upper median), None without one."""
        lengths = [row.epoch for row in self.rows if row.state == "complete" and row.curve]
        return median_high(lengths) if lengths else None

    @property
    def epochs_saved(self) -> int | None:
        """Epochs that the pruned configurations would still have run.

        A configuration of unknown length is assumed to be as long as a completed one; the result is
        None without a completed one.
        """
        full = self.full_length
        return None if full is None else sum(_left(row, full) for row in self.pruned)

    @property
    def epochs_saved_fraction(self) -> float | None:
        """Fraction of epochs saved relative to the same search without pruning, in [0, 1)."""
        saved = self.epochs_saved
        return None if saved is None else saved / (self.epochs + saved)

    @property
    def device_hours(self) -> float:
        """Device hours by the study's clock or, if it never ran, by the configurations' times."""
        return self.times.device_hours or sum(row.seconds for row in self.rows) / 3600

    @property
    def device_hours_saved(self) -> float | None:
        """Device hours that pruned configurations would still have taken, each at its own pace."""
        full = self.full_length
        worked = sum(row.seconds for row in self.rows)
        if full is None or not worked:
            return None
        usual = [row.seconds / row.epoch for row in self.rows if row.epoch > 1]
        most = median_high(usual) if usual else math.inf
        saved = sum(_left(row, full) * _pace(row, most) for row in self.pruned if row.epoch)
        return self.device_hours * saved / worked  # trials that share a device take turns

    @property
    def failures(self) -> dict[str, list[Row]]:
        """Failed and infeasible configurations by reason, the most frequent first.

        Reasons that differ only in numbers (a step, a size) form one group, named by the first.
        """
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.state in {"failed", "infeasible"}:
                groups[re.sub(r"\d[\d.]*", "0", row.reason or "unknown")].append(row)
        largest = sorted(groups.values(), key=lambda rows: -len(rows))
        return {rows[0].reason or "unknown": rows for rows in largest}

    def loss(self, value: float | None) -> float:
        """Return ``value`` with its sign such that smaller is better; missing and NaN are worst."""
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.maximize else value


def _pace(row: Row, most: float) -> float:
    """Return seconds per epoch, at most ``most`` if a single epoch may include the start-up."""
    return row.seconds / row.epoch if row.epoch > 1 else min(row.seconds, most)


def _left(row: Row, full: int) -> int:
    return max(0, (row.length or full) - row.epoch)


def summarise(
    study: Study,
    *,
    now: datetime | None = None,
    times: Times | None = None,
    workers: Sequence[Worker] = (),
) -> Summary:
    """Read ``study`` once, without copies, and merge retries; the first objective ranks.

    Args:
        now: Naive local time, as Optuna's own; the end of running attempts.
        times: Work time by the study's clock, for its budget; without it, ``wall`` is used.
        workers: The study's workers; the trial of a dead one ended with its last heartbeat.
    """
    now = now or datetime.now()
    trials = study.get_trials(deepcopy=False)
    dead = [worker for worker in workers if not worker.alive]
    lost = {w.trial_id: now - timedelta(seconds=w.silent) for w in dead if w.trial_id is not None}
    attempts: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        attempts[first_number(trial)].append(trial)
    attrs = study.user_attrs
    rows = [merged(number, tried, now, lost) for number, tried in sorted(attempts.items())]
    wall = _wall(spans(trials, now, lost))
    worked = times or Times(wall / 3600, wall / 3600)
    ran = sum(len(row.curve) for row in rows)
    spent = Spent(len(rows), ran, worked.hours, worked.device_hours)
    return Summary(
        name=study.study_name,
        metric=str(attrs.get("metric", "value")),
        maximize=study.directions[0] == StudyDirection.MAXIMIZE,
        rows=rows,
        space={name: kind for trial in trials for name, kind in trial.distributions.items()},
        wall=wall,
        attrs=attrs,
        budget=limits_of(attrs).usage(spent),
        times=times or Times(),
        workers=[worker for worker in workers if worker.alive],
        lost=dead,
        objectives=_objectives(study, attrs),
    )


def _objectives(study: Study, attrs: Mapping[str, Any]) -> dict[str, bool]:
    ups = [direction == StudyDirection.MAXIMIZE for direction in study.directions]
    names = list(attrs.get("objectives", ()))
    if len(names) != len(ups):
        names = [attrs.get("metric", "value"), *(f"value {k}" for k in range(1, len(ups)))]
    return dict(zip(names, ups, strict=True))


def limits_of(attrs: Mapping[str, Any]) -> Budget:
    """Return the budget that is stored with a study."""
    limits = attrs.get("budget") or {"n_trials": attrs.get("n_trials")}
    known = {field.name for field in fields(Budget)}
    return Budget(**{key: limit for key, limit in limits.items() if key in known})


def _wall(worked: Iterable[tuple[datetime, datetime]]) -> float:
    """Return the seconds with at least one running attempt, without the breaks between sessions."""
    total, reached = 0.0, datetime.min
    for start, stop in sorted(worked):
        total += max(0.0, (stop - max(start, reached)).total_seconds())
        reached = max(reached, stop)
    return total
