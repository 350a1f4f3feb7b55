"""Write the report as Markdown, for an issue, a wiki or a message."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna import Study

from tuner.errors import hinted
from tuner.report.analysis import comparison, importance, pareto
from tuner.report.analysis.pruning_errors import UNKNOWN_SAVING, pruning
from tuner.report.commands import UNKNOWN, Commands
from tuner.report.configurations import Row
from tuner.report.formatting import duration, legend, metric, percent, plain
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import settings

TOP = 10
"""Number of configurations to list."""


def markdown(
    study: Study, summary: Summary, final: Mapping[str, Any], commands: Commands = UNKNOWN
) -> str:
    """Return the numbers and text of the report; plots are only in the HTML page."""
    told = legend(summary.counts)
    parts = [
        f"# {_text(summary.name)}\n\nSearched for {_text(summary.aim)}:"
        f" {summary.tally or 'nothing has run yet'}; {duration(summary.wall)} at work.\n"
        + f"\n{told.capitalize()}.\n"
        * bool(told),
        _section("Winner", _winner(summary, commands)),
        *(_found(study, summary, final) if summary.ranking else ()),
        _section("What was searched", _space(summary)),
        _section("Failures", _failures(summary)),
        _section("How to repeat it", _fenced(commands.tune_line(summary)) or "Not recorded.\n"),
    ]
    return "\n".join(parts)


def _found(study: Study, summary: Summary, final: Mapping[str, Any]) -> list[str]:
    return [
        _section("Is it really better?", _comparison(summary, final)),
        _section(f"The best {TOP}", _best(summary)),
        *_front(summary),
        _section("Importance of the parameters", _importances(study, summary)),
        _section("Where the time went", _table(*summary.time_spent) or "Not recorded.\n"),
        _section("What pruning saved", _pruning(summary)),
    ]


def _winner(summary: Summary, commands: Commands) -> str:
    row = summary.best
    if row is None:
        return "No configuration is complete.\n"
    others = list(zip(summary.objectives, row.values, strict=False))[1:]
    traded = "".join(f" {_text(name)} {metric(value)}," for name, value in others)
    return (
        f"{_text(summary.metric)} **{metric(row.value)}**,{traded} configuration #{row.number},"
        f" {duration(row.seconds)}\n\n{_fenced(commands.train_line(row))}"
    )


def _comparison(summary: Summary, final: Mapping[str, Any]) -> str:
    known = comparison.noise(summary, final)
    said = "".join(f"- {_sentence(line)}\n" for line in comparison.sentences(summary, known, final))
    return _table(*comparison.table(summary, known)) + said


def _front(summary: Summary) -> list[str]:
    """Return the Pareto front; empty for a single objective, whose front is the winner."""
    if len(summary.objectives) < 2:
        return []
    rows = (
        [f"{row.number}", *map(metric, row.values), settings(row)] for row in pareto.front(summary)
    )
    table = _table(("#", *summary.objectives, "settings"), rows)
    return [_section("Pareto front", table or "None yet.\n")]


def _importances(study: Study, summary: Summary) -> str:
    found = importance.importances(study, summary)
    if isinstance(found, str):
        return f"{_text(found)}\n"
    rows = ((row.name, f"{row.share:.0%}", row.range) for row in found)
    return _table(("parameter", "share", "middle 80 % of resamples"), rows)


def _space(summary: Summary) -> str:
    titles, rows = summary.searched
    return _table(titles, rows) or "Not recorded.\n"


def _pruning(summary: Summary) -> str:
    if not summary.pruned:
        return "Nothing.\n"
    if summary.epochs_saved is None:
        return f"{UNKNOWN_SAVING}\n"
    found = pruning(summary)
    told = f" {str(found).capitalize()}." if found else ""
    return (
        f"{len(summary.pruned)} of {summary.over} were pruned, which saved"
        f" {percent(summary.share_saved)} of the epochs.{told}\n"
    )


def _failures(summary: Summary) -> str:
    if not summary.failures:
        return "None.\n"
    lines = (
        f"- {len(rows)}: {_text(reason + hinted(rows[0].hint))}"
        for reason, rows in summary.failures.items()
    )
    return "\n".join(lines) + "\n"


def _best(summary: Summary) -> str:
    def cells(row: Row) -> Sequence[str]:
        return f"{row.number}", metric(row.value), f"{row.epoch}", settings(row)

    rows = map(cells, summary.ranking[:TOP])
    return _table(("#", summary.metric, "epochs", "settings"), rows) or "None yet.\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(row) for row in rows]
    return "\n".join([_row(titles), "|---" * len(titles) + "|", *lines, "", ""]) if lines else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Return names and settings as code, which needs no escapes and stays legible as source."""
    kept = plain(text)
    named = any(c in kept for c in "_=[@") and not any(c in kept for c in "`|\\")
    return f"`{kept}`" if named else _text(text)


def _text(text: str) -> str:
    """Return one line of text in which all markup is escaped."""
    return _bare(plain(text))


def _bare(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#&" else c for c in text)


def _sentence(line: str) -> str:
    """Return one line of text in which only `commands` between backticks are markup."""
    parts = re.split("(`tuner [a-z]+`)", plain(line))
    return "".join(part if part.startswith("`tuner ") else _bare(part) for part in parts)


def _fenced(line: str) -> str:
    """Return a command in a code block; empty without a command."""
    text = plain(line)
    if not text:
        return ""
    fence = "````" if "```" in text else "```"
    return f"{fence}sh\n{text}\n{fence}\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"
