"""Report the false-pruning rate, as estimated by the audit, and the savings of the pruner.

``tuner.algorithms.pruners.audit`` defines the terms, the estimate and its interval.
"""

from dataclasses import asdict, dataclass
from typing import Any

from tuner.algorithms.pruners import audit as audits
from tuner.report.formatting import percent
from tuner.report.summary import Summary

UNKNOWN_SAVING = "What pruning saved is unknown: no completed configuration has a curve."


@dataclass(frozen=True)
class Audit:
    """Numbers of ``condemned`` trials, ended ``audited`` ones, and ``wrong`` decisions."""

    condemned: int
    audited: int
    wrong: int

    @property
    def rate(self) -> float | None:
        """The estimated false-pruning rate, None before an audited trial has ended."""
        return self.wrong / self.audited if self.audited else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate, 0 to 1 before an audited trial has ended."""
        return audits.interval(self.wrong, self.audited)

    def __str__(self) -> str:
        if self.rate is None:
            return f"false-pruning rate: unknown, no audit of {self.condemned} trials has ended"
        low, high = map(percent, self.interval)
        return (
            f"false-pruning rate: {percent(self.rate)} (95 % interval {low} to {high};"
            f" {self.wrong} of {self.audited} audited)"
        )


def audit(summary: Summary) -> Audit | None:
    """Return the result of the audit; None if no trial was condemned or none survived."""
    spared = [row for row in summary.rows if row.condemned_at is not None]
    survivors = [row for row in summary.ranking if row.condemned_at is None and row.repeats is None]
    condemned = len(summary.pruned) + len(spared)
    if not condemned or not survivors:
        return None
    best = summary.loss(survivors[0].value)
    ended = [row for row in spared if row.over]
    done = (row for row in ended if row.state == "complete")
    return Audit(condemned, len(ended), sum(summary.loss(row.value) < best for row in done))


def line(summary: Summary) -> str | None:
    """Return rate and savings as one line, None if no trial was pruned."""
    found = audit(summary)
    if found is None:
        return None
    saved = f"{len(summary.pruned)} pruned, {percent(summary.share_saved)} of epochs saved"
    return f"{saved}; {found}"


def as_data(summary: Summary) -> dict[str, Any] | None:
    """Return the audit as plain data."""
    found = audit(summary)
    if found is None:
        return None
    return {**asdict(found), "rate": found.rate, "interval": found.interval}
