"""Estimate how much better the winner is than its rivals, with the seed-to-seed noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.analysis.intervals import Z, student
from tuner.report.configurations import Row
from tuner.report.formatting import beside, finite, interval, measured, metric, span
from tuner.report.summary import Summary
from tuner.study import seed_noise as noises

DEFAULTS = "the defaults"
"""Origin of a trial that was enqueued with the configuration's own values."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one training's score over seeds, and how it was measured.

    ``freedom`` is the number of degrees of freedom of the estimate, None for a given value.
    """

    deviation: float
    freedom: int | None
    source: str

    @property
    def reach(self) -> float:
        """Half the 95 % interval of the difference of two trainings with one seed each."""
        quantile = Z if self.freedom is None else student(self.freedom)
        return quantile * self.deviation * math.sqrt(2)


@dataclass(frozen=True)
class Rival:
    """A configuration to compare with the winner; a positive ``gain`` favours the winner."""

    name: str
    row: Row
    gain: float
    interval: tuple[float, float] | None

    @property
    def by(self) -> str:
        told = (
            measured(self.gain, self.interval)
            if self.interval
            else beside(self.gain, self.row.value)
        )
        return told if told.startswith("-") else f"+{told}"

    @property
    def range(self) -> str:
        return "unknown" if self.interval is None else span(self.interval)

    @property
    def verdict(self) -> str:
        if self.interval is None:
            return "unknown"
        return "better" if self.interval[0] > 0 else "not significantly better"


def noise(summary: Summary, final: Mapping[str, Any]) -> Noise | None:
    """Return the noise over seeds: the given value, else the one measured by repeated runs.

    Repeats of the search (``budget.stop_when``) are preferred, then the trainings of the race, then
    the final trainings. These score the winner on test images; without other data, that is the
    best estimate of the noise on validation images.
    """
    given = (summary.attrs.get("budget") or {}).get("noise")
    if isinstance(given, int | float) and given > 0:
        return Noise(float(given), None, "budget.noise")
    again = [row.value for row in summary.rows if row.repeats is not None and finite(row.value)]
    raced = [each.get("values") for each in (final.get("race") or {}).get("finalists", ())]
    return (
        _measured([again], "repeated runs of the search")
        or _measured(raced, "trainings of the race")
        or _measured([final.get("values")], "final trainings")
    )


def _measured(groups: Sequence[Any], what: str) -> Noise | None:
    """Return the deviation within groups of runs of one configuration, pooled over groups.

    The result is None if there are too few runs, or if all scores of a group are equal.
    """
    groups = [[float(v) for v in group if _number(v)] for group in groups if group is not None]
    known = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in known)
    squares = sum((len(group) - 1) * (noises.deviation(group) or 0.0) ** 2 for group in known)
    if not squares:
        return None
    return Noise(math.sqrt(squares / freedom), freedom, f"{sum(map(len, known))} {what}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and finite(value)


def rivals(summary: Summary, known: Noise | None) -> list[Rival]:
    """Return the runner-up and the defaults, if they completed and differ from the winner."""
    best = summary.best
    if best is None or not finite(best.value):
        return []
    others = [row for row in summary.ranking if row.params != best.params and finite(row.value)]
    found = [("the runner-up", row) for row in others[:1]]
    found += [(DEFAULTS, row) for row in others if row.origin == DEFAULTS]
    return [_rival(name, row, best, summary, known) for name, row in found]


def _rival(name: str, row: Row, best: Row, summary: Summary, known: Noise | None) -> Rival:
    gain = summary.loss(row.value) - summary.loss(best.value)
    interval = None if known is None else (gain - known.reach, gain + known.reach)
    return Rival(name, row, gain, interval)


def table(summary: Summary, known: Noise | None) -> tuple[list[str], list[list[str]]]:
    """Return the titles and one row per rival, as plain text."""
    found, own = rivals(summary, known), f"its {summary.metric}"
    named = [f"{r.name} (#{r.row.number})" for r in found]
    values = [metric(r.row.value) for r in found]
    if known is None:  # the sentences say that the noise is unknown
        rows = [[name, r.by, value] for name, r, value in zip(named, found, values, strict=True)]
        return ["against", "the winner is ahead by", own], rows
    rows = [
        [name, r.verdict, r.by, r.range, value]
        for name, r, value in zip(named, found, values, strict=True)
    ]
    return ["against", "the winner is", "by", "95 % interval", own], rows


def sentences(summary: Summary, known: Noise | None, final: Mapping[str, Any]) -> list[str]:
    """Return sentences on how much better the winner is; empty without a winner."""
    if not summary.ranking:
        return []
    said = []
    if known is None:
        said.append(
            "The seed-to-seed noise is unknown, because each configuration was trained with one"
            " seed. `tuner final` trains the winner with several seeds and so measures it."
        )
    else:
        said.append(
            f"The scores of two trainings that differ only in their seeds are within"
            f" {known.reach:.2g} of each other in 95 of 100 cases (standard deviation"
            f" {known.deviation:.2g}, from {known.source})."
        )
    said.append(_chosen(summary))
    if not any(row.origin == DEFAULTS for row in summary.rows):
        said.append("The default configuration was not tried.")
    if final.get("race"):
        said.append(_race(summary, final["race"]))
    if _number(final.get("mean")):
        said.append(_test_score(summary, final))
    return said


def _chosen(summary: Summary) -> str:
    """Describe how the selection of the winner biases its score upwards."""
    if len(summary.ranking) == 1:
        return "Only one configuration is complete, so there was no choice of a winner."
    aim = "highest" if summary.maximize else "lowest"
    return (
        f"The winner has the {aim} of {len(summary.ranking)} validation scores. This selection"
        " makes its validation score optimistic; a test score is not affected."
    )


def _race(summary: Summary, race: Mapping[str, Any]) -> str:
    """Describe the result of the race of `tuner final`."""
    winner, lead = race["winner"], race.get("lead")
    best = summary.best
    same = best is not None and best.number == winner
    said = f"`tuner final` raced the best {len(race['finalists'])} on new seeds: #{winner} won"
    said += "" if same else " (not the best of the search)"
    if not lead:
        return f"{said}."
    ends = lead.get("interval")
    by = measured(lead["gain"], ends)
    said += f", ahead of #{lead['rival']} by {by} over {lead['count']} paired seeds"
    if ends is None:
        return f"{said}."
    sure = "" if ends[0] > 0 else ": not a significant difference"
    return f"{said} (95 % interval {span(ends)}){sure}."


def _test_score(summary: Summary, final: Mapping[str, Any]) -> str:
    count, ends = len(final.get("values") or ()), final.get("interval")
    known = ends if final.get("sd") else None
    spread = f", 95 % interval {interval(summary.metric, known)}" if known else ""
    seeds = f"{count} seed{'s' * (count > 1)}"
    mean = measured(final["mean"], known)
    return f"Test {summary.metric} of the final trainings: {mean} over {seeds}{spread}."
