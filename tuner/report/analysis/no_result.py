"""Explain a search without any value: why its configurations ended, and how to avoid that."""

from collections.abc import Callable, Sequence

from tuner.errors import Mistake
from tuner.log import brief
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.storage.reason_kind import Kind

SHOWN = 5
"""Maximum number of causes to show; rarer ones are counted."""
LETTERS = 160
"""Maximum number of characters of a reason; the report has the whole text."""
CURES = {
    Kind.DIVERGED: "smaller learning rates in the space",
    Kind.OUT_OF_MEMORY: "smaller batches or networks in the space, or fewer workers on a device",
    Kind.CONSTRAINT: "larger limits in study.constraints, or a space that satisfies them",
    Kind.LOST: "check the ends of the workers' logs, and the memory of the machine",
    Kind.PRUNED: "pruner=none, or a milder pruner",
    Kind.ERROR: "run the command below to see the traceback",
    Kind.SET_ASIDE: "enqueue values that lie in the search space",
}
"""Kind of reason → hint, unless the reason has one of its own."""


def explain(summary: Summary, command: Callable[[Row], str]) -> Mistake | None:
    """Return the causes, the most frequent first, each with an example.

    Args:
        command: Returns the command that repeats a configuration; empty if unknown.

    Returns:
        None if the study has a value or may still get one: it has unfinished configurations, or no
        configurations yet.
    """
    if not summary.rows or summary.best is not None or not all(row.over for row in summary.rows):
        return None
    causes = _causes(summary)
    count = len(summary.rows)
    lines = [line for cause in causes[:SHOWN] for line in _lines(count, *cause, command)]
    if more := causes[SHOWN:]:
        lines.append(f"  {sum(len(rows) for _, rows in more)} of {count}: rarer causes")
    head = f"no configuration of study {summary.name!r} has a value ({summary.tally})"
    hint = (
        "fix the causes listed here, then use another study.name, or resume with a larger budget: "
        "failed configurations remain counted"
    )
    return Mistake("", "\n".join([head, *lines]), hint)


def _causes(summary: Summary) -> list[tuple[str, Sequence[Row]]]:
    """Return the rows of each reason, the most frequent first; of equal ones the older first."""
    causes: dict[str, Sequence[Row]] = dict(summary.failures)
    if summary.pruned:
        causes["stopped by the pruner"] = summary.pruned
    return sorted(causes.items(), key=lambda cause: (-len(cause[1]), cause[1][0].number))


def _lines(
    count: int, reason: str, rows: Sequence[Row], command: Callable[[Row], str]
) -> list[str]:
    said = f"  {len(rows)} of {count}: {brief(reason, LETTERS)}, such as #{rows[0].number}"
    again = [f"      {line}"] if (line := command(rows[0])) else []
    known = CURES.get(rows[0].kind or Kind.INFEASIBLE, "values that can be trained")
    return [f"{said}; hint: {rows[0].hint or known}", *again]
