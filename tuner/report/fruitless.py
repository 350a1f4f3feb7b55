"""Explain a search without any value: why its configurations ended, and what helps."""

from collections.abc import Callable, Sequence

from tuner.log import brief
from tuner.report.rows import Row
from tuner.report.summary import Summary

SHOWN = 5
"""Maximum number of causes to show; rarer ones are counted."""
LETTERS = 160
"""Maximum number of characters of a reason; the report has the whole text."""
CURES = {
    "diverged": "smaller learning rates in the space",
    "out of memory": "smaller batches or networks in the space, or fewer workers on a device",
    "infeasible: ": "larger limits in study.constraints, or a space that keeps within them",
    "lost ": "the ends of the workers' logs, and the machine's memory",
    "pruned": "pruner=none, or a milder pruner",
}
"""Beginnings of reasons, each with a hint."""


def told(summary: Summary, command: Callable[[Row], str]) -> str | None:
    """Return the causes, the most frequent first, each with an example.

    The result is None if the study has a value or may still get one, because it runs or waits or is
    empty. ``command`` returns the command that repeats a configuration, empty if unknown.
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
    """Return the rows of each reason, the most frequent first; of equal ones the older first."""
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
    """Return the hint in a reason, or the known one of its kind."""
    own = reason.partition(" (hint: ")[2].removesuffix(")")
    known = (cure for begin, cure in CURES.items() if reason.startswith(begin))
    failed = row.state == "failed"
    default = "the command below shows its traceback" if failed else "values that can be trained"
    return own or next(known, default)
