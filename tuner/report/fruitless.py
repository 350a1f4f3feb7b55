"""A search that has ended without one value: what its configurations ended of, and the cures."""

from collections.abc import Callable, Sequence

from tuner.log import brief
from tuner.report.rows import Row
from tuner.report.summary import Summary

SHOWN = 5
"""Causes that are told; what is rarer is counted."""
LETTERS = 160
"""Of a reason: the whole of it is in the report."""
CURES = {
    "diverged": "smaller learning rates in the space",
    "out of memory": "smaller batches or networks in the space, or fewer workers on a device",
    "infeasible: ": "larger limits in study.constraints, or a space that keeps within them",
    "lost ": "the ends of the workers' logs, and the machine's memory",
    "pruned": "pruner=none, or a milder pruner",
}
"""How a reason begins, and what helps."""


def told(summary: Summary, command: Callable[[Row], str]) -> str | None:
    """The causes, the most frequent first, each with an example; None where there may be a value.

    ``command`` is what repeats a configuration, empty where nobody knows it.  A study that runs,
    waits or is empty has not ended without a value.
    """
    if not summary.rows or summary.best is not None or not all(row.over for row in summary.rows):
        return None
    causes = _causes(summary)
    count = len(summary.rows)
    lines = [line for cause in causes[:SHOWN] for line in _lines(count, *cause, command)]
    if more := causes[SHOWN:]:
        lines.append(f"  {sum(len(rows) for _, rows in more)} of {count}: rarer causes")
    return "\n".join(
        [
            f"no configuration of study {summary.name!r} gave a value ({summary.tally}):",
            *lines,
            "hint: once that is mended, search anew under another study.name, or go on with a "
            "larger budget: what has failed stays counted",
        ]
    )


def _causes(summary: Summary) -> list[tuple[str, Sequence[Row]]]:
    """Reasons and whom they met; of equals the older first."""
    causes: dict[str, Sequence[Row]] = dict(summary.failures)
    if summary.pruned:
        causes["pruned, behind what the pruner asks for"] = summary.pruned
    return sorted(causes.items(), key=lambda cause: (-len(cause[1]), cause[1][0].number))


def _lines(
    count: int, reason: str, rows: Sequence[Row], command: Callable[[Row], str]
) -> list[str]:
    said = f"  {len(rows)} of {count}: {brief(reason, LETTERS)}, such as #{rows[0].number}"
    again = [f"      {line}"] if (line := command(rows[0])) else []
    return [f"{said}; hint: {_cure(reason, rows[0])}", *again]


def _cure(reason: str, row: Row) -> str:
    """What whoever gave the reason says helps, or what is known to."""
    own = reason.partition(" (hint: ")[2].removesuffix(")")
    known = (cure for begin, cure in CURES.items() if reason.startswith(begin))
    failed = row.state == "failed"
    default = "the command below shows its traceback" if failed else "values that can be trained"
    return own or next(known, default)
