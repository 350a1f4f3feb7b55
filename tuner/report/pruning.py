"""How often the pruner was wrong, as its audit shows, and what it saved.

The terms, the estimate and its interval are those of ``tuner.pruners.audit``.
"""

from dataclasses import asdict, dataclass
from typing import Any

from tuner.pruners import audit as audits
from tuner.report.summary import Summary
from tuner.report.wording import percent


@dataclass(frozen=True)
class Audit:
    """``audited`` of the ``condemned`` were let live and have ended; ``wrong`` of them won."""

    condemned: int
    audited: int
    wrong: int

    @property
    def rate(self) -> float | None:
        """The estimated share of wrong kills among the condemned, None before one was audited."""
        return self.wrong / self.audited if self.audited else None

    @property
    def interval(self) -> tuple[float, float]:
        """The rate's 95 % interval, 0 to 1 while nothing is known."""
        return audits.interval(self.wrong, self.audited)

    def __str__(self) -> str:
        if self.rate is None:
            return f"wrong kills: not known, none of {self.condemned} was let live to see"
        low, high = map(percent, self.interval)
        return (
            f"wrong kills: {percent(self.rate)} (95 % interval {low} to {high};"
            f" {self.wrong} of {self.audited} audited)"
        )


def audit(summary: Summary) -> Audit | None:
    """What became of the audited; None if nothing was condemned, or nothing survived."""
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
    """Both in one line, None where nothing was pruned."""
    found = audit(summary)
    if found is None:
        return None
    saved = f"{len(summary.pruned)} pruned, {percent(summary.share_saved)} of epochs saved"
    return f"{saved}; {found}"


def as_data(summary: Summary) -> dict[str, Any] | None:
    """The audit for programs."""
    found = audit(summary)
    if found is None:
        return None
    return {**asdict(found), "rate": found.rate, "interval": found.interval}
