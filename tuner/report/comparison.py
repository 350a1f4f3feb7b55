"""By how much the winner is really better, as far as anything is known of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit  # type: ignore[import-untyped]

from tuner import exported
from tuner import noise as noises
from tuner.log import log
from tuner.report.final import FinalResult
from tuner.report.rows import Row
from tuner.report.summary import Summary
from tuner.report.wording import beside, finite, interval, measured, metric, span

DEFAULTS = "the defaults"
"""What a configuration that was queued as it stands in conf/ says of its origin."""


ELSEWHERE = ("seed=", "data.root=", "data.download=")
"""Overrides that may be others to a final training: its seeds, and where data lie."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one training's score over seeds, and what it was measured by.

    ``freedom`` are the degrees of freedom of the measurement, None for a value that was given.
    """

    deviation: float
    freedom: int | None
    source: str

    @property
    def reach(self) -> float:
        """Half the 95 % interval of the difference of two trainings of one seed each."""
        quantile = 1.959964 if self.freedom is None else float(stdtrit(self.freedom, 0.975))
        return quantile * self.deviation * math.sqrt(2)


@dataclass(frozen=True)
class Rival:
    """A configuration that the winner is held against; a positive ``gain`` is the winner's."""

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
        return "not known" if self.interval is None else span(self.interval)

    @property
    def verdict(self) -> str:
        if self.interval is None:
            return "not known"
        return "better" if self.interval[0] > 0 else "not surely better"


def read_final(directory: Path) -> Mapping[str, Any]:
    """``final.json`` of a study's directory; empty before `tuner final`."""
    return final_record(directory / "final")


def final_record(final_dir: Path) -> Mapping[str, Any]:
    """``final.json``; empty, and a warning, where it is not what `tuner final` writes."""
    path = final_dir / "final.json"
    try:
        found = exported.read(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        wrong = [str(error)]
    else:
        wrong = exported.mistakes(found, FinalResult)
        if not wrong:
            return found
    log.warning("%s is passed over: %s; hint: tuner final", path, "; ".join(wrong))
    return {}


def final_of(summary: Summary, directory: Path) -> Mapping[str, Any]:
    """The same; empty too where it is of a study that lay in the directory before."""
    final = read_final(directory)
    return final if any(is_of(final, row) for row in summary.ranking) else {}


def is_of(final: Mapping[str, Any], row: Row) -> bool:
    """Whether ``final.json`` tells of this configuration, as far as it says of which."""
    number, overrides = final.get("number"), final.get("overrides")
    if number is None or overrides is None:
        return True
    own = [text for text in row.stored if not text.startswith(ELSEWHERE)]
    return bool(number == row.number and set(own) <= set(overrides))


def noise(summary: Summary, final: Mapping[str, Any]) -> Noise | None:
    """The noise over seeds: as it was given, else as repeated runs measured it.

    Those of the search (``budget.stop_when``) come first, then the race's, then the final
    trainings: they are of the winner on the test images, the best guess that is left for its rivals
    on the validation images.
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
    """The deviation within groups of runs of one configuration, pooled over the groups.

    None where there are too few, or all are the same: of few images, or by rounding.
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
    """The runner-up and the defaults, each if it was completed and is another configuration."""
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
    """Titles and a row for each rival, as plain text."""
    rows = [
        [f"{r.name} (#{r.row.number})", r.verdict, r.by, r.range, metric(r.row.value)]
        for r in rivals(summary, known)
    ]
    return ["against", "the winner is", "by", "95 % interval", f"its {summary.metric}"], rows


def sentences(summary: Summary, known: Noise | None, final: Mapping[str, Any]) -> list[str]:
    """What is known, and what is not, in plain words; nothing where there is no winner."""
    if not summary.ranking:
        return []
    said = []
    if known is None:
        said.append(
            "How much of a difference is luck is not known: each configuration was trained with one"
            " seed. `tuner final` trains the winner with several and so measures it."
        )
    else:
        said.append(
            f"Two trainings that differ in their seed alone are expected within"
            f" {known.reach:.2g} of each other, 95 times in 100 (standard deviation"
            f" {known.deviation:.2g}, by {known.source})."
        )
    said.append(_chosen(summary))
    if not any(row.origin == DEFAULTS for row in summary.rows):
        said.append("The default configuration was not among those searched.")
    if final.get("race"):
        said.append(_race(summary, final["race"]))
    if _number(final.get("mean")):
        said.append(_test_score(summary, final))
    return said


def _chosen(summary: Summary) -> str:
    """How its being chosen flatters the winner."""
    if len(summary.ranking) == 1:
        return "Only one configuration was completed: there was nothing to choose the winner from."
    aim = "highest" if summary.maximize else "lowest"
    return (
        f"The winner was chosen for the {aim} of {len(summary.ranking)} validation scores, so its"
        " own one flatters it; a test score does not."
    )


def _race(summary: Summary, race: Mapping[str, Any]) -> str:
    """What the race of `tuner final` decided, by trainings that were made for the purpose."""
    winner, lead = race["winner"], race.get("lead")
    best = summary.best
    same = best is not None and best.number == winner
    said = f"`tuner final` raced {len(race['finalists'])} of the best anew: #{winner} won"
    said += "" if same else " (not the best of the search; it is what was trained in the end)"
    if not lead:
        return f"{said}."
    ends = lead.get("interval")
    by = measured(lead["gain"], ends)
    said += f", ahead of #{lead['rival']} by {by} over {lead['count']} paired seeds"
    if ends is None:
        return f"{said}."
    sure = "" if ends[0] > 0 else ": they are not told apart"
    return f"{said} (95 % interval {span(ends)}){sure}."


def _test_score(summary: Summary, final: Mapping[str, Any]) -> str:
    count, ends = len(final.get("values") or ()), final.get("interval")
    known = ends if final.get("sd") else None
    spread = f", 95 % interval {interval(summary.metric, known)}" if known else ""
    seeds = f"{count} seed{'s' * (count > 1)}"
    mean = measured(final["mean"], known)
    return f"Test {summary.metric} of the final trainings: {mean} over {seeds}{spread}."
