"""The result of `tuner final`: the contents of ``final.json``, and how users see them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.config import exported_json
from tuner.config.exported_json import Finite
from tuner.log import log
from tuner.report.analysis.intervals import wilson
from tuner.report.configurations import Row
from tuner.report.formatting import interval, measured, metric, scattered, span
from tuner.report.summary import Summary

ELSEWHERE = ("seed=", "data.root=", "data.download=")
"""Overrides that may differ in a final training: its seeds, and the location of the data."""


@dataclass(frozen=True)
class Finalist:
    """One configuration in a race, with its values by seed so far."""

    number: int
    overrides: Sequence[str]
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


@dataclass(frozen=True)
class Lead:
    """The difference between the means of the winner and of the closest ``rival``."""

    rival: int
    gain: float
    """Positive if the winner is better."""
    interval: tuple[Finite, Finite] | None
    """The 95 % interval by Student's t over paired seeds; None if all differences are equal."""
    count: int

    @property
    def by(self) -> str:
        """The gain, with as many digits as its interval allows."""
        return measured(self.gain, self.interval)


@dataclass(frozen=True)
class Race:
    """Finalists in the order of the search; ``winner`` is the number of one of them."""

    finalists: Sequence[Finalist]
    winner: int
    lead: Lead | None
    """The winner's lead, None if no other finalist completed a second seed."""

    @property
    def trainings(self) -> int:
        return sum(len(finalist.values) for finalist in self.finalists)

    def line(self) -> str:
        """Describe the winner for users."""
        others = len(self.finalists) - 1
        who = f"race:      #{self.winner} won against {others} other{'s' * (others > 1)}"
        who += f" in {self.trainings} trainings"
        if self.lead is None:
            return who
        lead = self.lead
        if lead.interval is None:
            return f"{who}, ahead of #{lead.rival} by {lead.by} over {lead.count} seeds"
        told = f"{lead.by} (95 % interval {span(lead.interval)}, {lead.count} seeds)"
        if lead.interval[0] <= 0:
            return f"{who}; not significantly better than #{lead.rival}, ahead by {told}"
        return f"{who}, better than #{lead.rival} by {told}"


@dataclass(frozen=True)
class FinalResult:
    """Scores by seed; ``sd`` has n - 1 degrees of freedom, and one seed has no spread."""

    seeds: Sequence[int]
    values: Sequence[float]
    mean: Finite
    sd: Finite | None
    interval: tuple[Finite, Finite] | None
    """The 95 % confidence interval of the mean over seeds; see
    ``tuner.report.analysis.intervals``."""
    metrics: Sequence[dict[str, float]]
    models: Sequence[str]
    overrides: Sequence[str]
    number: int | None = None
    """The number of the configuration in its study."""
    race: Race | None = None
    """The race that the configuration won, None without competitors."""
    images: int | None = None
    """The number of test images, if an accuracy was measured on them."""
    run_dirs: Sequence[str] = ()
    """The run directories of the trainings, by seed."""

    def line(self, name: str) -> str:
        """Return the score for users; ``name`` is the metric."""
        count = len(self.values)
        if self.sd is None or self.interval is None:
            return f"final:     {name} {metric(self.mean)} (1 seed)"
        if self.sd == 0:  # equal counts each time: no estimate of the spread
            return f"final:     {name} {metric(self.mean)}, the same over {count} seeds"
        return (
            f"final:     {name} {scattered(self.mean, self.sd, self.interval)} over {count} seeds"
            f" (95 % interval {interval(name, self.interval)})"
        )

    def images_line(self) -> str | None:
        """Describe the uncertainty from the choice of test images, which all seeds share."""
        if not self.images:
            return None
        return (
            f"           on other test images: {span(wilson(self.mean, self.images))}"
            f" (95 % interval, binomial, {self.images} images)"
        )


def read_final(directory: Path) -> Mapping[str, Any]:
    """Return ``final.json`` of a study's directory; empty before `tuner final`."""
    return read_record(directory / "final")


def read_record(final_dir: Path) -> Mapping[str, Any]:
    """Return ``final.json``; empty, with a warning, if `tuner final` cannot have written it."""
    path = final_dir / "final.json"
    try:
        found = exported_json.read(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        wrong = str(error)
    else:
        if not (wrong := exported_json.in_one_line(exported_json.mistakes(found, FinalResult))):
            return found
    log.warning("%s is ignored: %s; hint: run tuner final again", path, wrong)
    return {}


def final_of(summary: Summary, directory: Path) -> Mapping[str, Any]:
    """Return ``final.json`` if it belongs to this study; empty if an earlier one left it."""
    final = read_final(directory)
    return final if any(is_of(final, row) for row in summary.ranking) else {}


def is_of(final: Mapping[str, Any], row: Row) -> bool:
    """Return whether ``final.json`` is of this configuration, as far as it records that."""
    number, overrides = final.get("number"), final.get("overrides")
    if number is None or overrides is None:
        return True
    own = [text for text in row.stored if not text.startswith(ELSEWHERE)]
    return bool(number == row.number and set(own) <= set(overrides))
