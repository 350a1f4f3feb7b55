"""Write the report as Markdown, for an issue, a wiki or a message."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from optuna import Study

from tuner.report.commands import UNKNOWN, Commands
from tuner.report.contents import contents, environment
from tuner.report.formatting import metric, plain
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import settings

TOP = 10
"""Number of configurations to list."""


def markdown(
    study: Study, summary: Summary, final: Mapping[str, Any], commands: Commands = UNKNOWN
) -> str:
    """Return the numbers and text of the report; plots are only in the HTML page."""
    told = contents(study, summary, final, commands)
    shares = [] if isinstance(told["important"], str) else told["important"]
    winner = summary.best
    return ENVIRONMENT.get_template("report.md.j2").render(
        **told,
        traded=list(zip(summary.objectives, winner.values, strict=False))[1:] if winner else [],
        top=TOP,
        best=[
            [f"{row.number}", metric(row.value), f"{row.epoch}", settings(row)]
            for row in summary.ranking[:TOP]
        ],
        front_titles=["#", *summary.objectives, "settings"],
        front_rows=[
            [f"{row.number}", *map(metric, row.values), settings(row)] for row in told["front"]
        ],
        importance_rows=[[row.name, f"{row.share:.0%}", row.range] for row in shares],
    )


def _text(value: object) -> Markup:
    """Return one line of text in which all markup is escaped; Markdown stays as it is."""
    return value if isinstance(value, Markup) else Markup(_bare(plain(value)))


def _bare(text: str) -> str:
    return re.sub(r"([\\|`*_<>\[\]#&])", r"\\\1", text)


def cell(text: str) -> Markup:
    """Return names and settings as code, which needs no escapes and stays legible as source."""
    kept = plain(text)
    named = any(c in kept for c in "_=[@") and not any(c in kept for c in "`|\\")
    return Markup(f"`{kept}`") if named else _text(text)


def _sentence(line: str) -> Markup:
    """Return one line of text in which only `commands` between backticks are markup."""
    parts = re.split("(`tuner [a-z]+`)", plain(line))
    return Markup("".join(part if part.startswith("`tuner ") else _bare(part) for part in parts))


def _fenced(line: str) -> Markup:
    """Return a command in a code block; empty without a command."""
    text = plain(line)
    fence = "````" if "```" in text else "```"
    return Markup(f"{fence}sh\n{text}\n{fence}" if text else "")


def templates(room: str, **filters: Callable[..., str]) -> Environment:
    """Return the Markdown templates of a package."""
    return environment(_text, room, cell=cell, fenced=_fenced, sentence=_sentence, **filters)


ENVIRONMENT = templates("tuner.report")
