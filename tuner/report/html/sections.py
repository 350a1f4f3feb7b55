"""The textual sections and tables of the report, as HTML."""

import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tuner.errors import hinted
from tuner.log import brief
from tuner.report.analysis import comparison
from tuner.report.analysis.pruning_errors import ENOUGH_AUDITED, UNKNOWN_SAVING
from tuner.report.analysis.pruning_errors import pruning as measured
from tuner.report.commands import Commands, shared
from tuner.report.configurations import Row, alike
from tuner.report.formatting import duration, legend, metric, percent, rate, word
from tuner.report.html.document import escaped, grid, plain_grid, section
from tuner.report.html.plots import COLOURS
from tuner.report.summary import Summary

LISTED = 200
"""Maximum number of configurations in the table."""
SHORT = 60
"""Maximum number of characters of a reason in that table; the failures have the whole text."""


def head(summary: Summary) -> str:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    tiles = [(str(n), state) for state, n in summary.counts.items() if n]
    tiles += [(duration(summary.wall), "at work")]
    if summary.hourly:
        tiles += [(rate(summary.hourly), "configurations an hour")]
    tiles += [(str(summary.epochs), "epochs run")] if summary.epochs else []
    tiles += [(percent(summary.share_saved), "of epochs saved")] if summary.epochs_saved else []
    shown = "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
    return (
        f"<h1>{escaped(summary.name)}</h1>"
        f'<p class="faint">Searched for {escaped(summary.aim)} · as of {made}</p>'
        f'<div class="tiles">{shown}</div><p class="faint">{legend(summary.counts)}</p>'
    )


def winner(summary: Summary, commands: Commands, pictures: str) -> str:
    row = summary.best
    if row is None:
        return section("Winner", "<p>No configuration is complete.</p>")
    known = {**dict(zip(summary.objectives, row.values, strict=False)), **row.metrics}
    others = "".join(
        f" · {escaped(name)} {metric(value)}"
        for name, value in known.items()
        if name != summary.metric
    )
    again = _command("To train it again:", commands.train_line(row))
    return section(
        "Winner",
        f'<div class="card"><p><b>{escaped(summary.metric)} {metric(row.value)}</b>'
        f'<span class="faint">{others}</span> · configuration #{row.number}'
        f" · {duration(row.seconds)}</p>"
        f"{again or f'<p>{_settings(row)}</p>'}</div>{_traded(summary)}"
        f"{pictures}",
    )


def _traded(summary: Summary) -> str:
    if len(summary.objectives) < 2:
        return ""
    return (
        f'<p class="faint">It has the best {escaped(summary.metric)}; what may be had for less of'
        " that is on the Pareto front below.</p>"
    )


def _command(title: str, line: str) -> str:
    if not line:
        return ""
    command = f'<pre class="command">{escaped(line)}</pre>'
    return f'<p class="faint">{title}</p><div class="copied">{command}</div>'


def compared(summary: Summary, final: Mapping[str, Any]) -> str:
    known = comparison.noise(summary, final)
    titles, rows = comparison.table(summary, known)
    said = comparison.sentences(summary, known, final)
    return plain_grid(titles, rows) + "".join(map(_sentence, said))


def _sentence(line: str) -> str:
    """Return a paragraph in which `commands` stand between backticks."""
    told = re.sub("`([^`]+)`", r"<code>\1</code>", escaped(line))
    return f"<p>{told}</p>"


def front(summary: Summary, rows: Sequence[Row]) -> str:
    """Return the table of Pareto-optimal configurations."""
    ways = ["highest" if maximized else "lowest" for maximized in summary.objectives.values()]
    named = zip(summary.objectives, ways, strict=True)
    titles = ["#", *(f"{escaped(name)} ({way})" for name, way in named), "settings"]
    cells = [
        [str(row.number), *(metric(value) for value in row.values), _settings(row)]
        for row in rows[:LISTED]
    ]
    return grid(titles, cells, wrap=True)


def space(summary: Summary) -> str:
    return plain_grid(*summary.searched) or "<p>Not recorded.</p>"


def time_spent(summary: Summary) -> str:
    return plain_grid(*summary.time_spent) or "<p>Not recorded.</p>"


def pruning(summary: Summary) -> str:
    saved = summary.epochs_saved
    if not summary.pruned:
        return "<p>Nothing was pruned.</p>"
    if saved is None:
        return f"<p>{UNKNOWN_SAVING}</p>"
    hours = summary.device_hours_saved
    price = "" if not hours else f", about {duration(3600 * hours)} of a device's time"
    return (
        f"<p>{len(summary.pruned)} of {summary.over} finished configurations were pruned. To the"
        f" end of their schedules they would have taken {saved} epochs more than the"
        f" {summary.epochs} that were run: pruning saved"
        f" <b>{percent(summary.share_saved)}</b>{price}.</p>{_errors(summary)}"
    )


def _errors(summary: Summary) -> str:
    found = measured(summary)
    if found is None:
        return ""
    if found.rate is None:
        return f"<p>{str(found).capitalize()}.</p>"
    low, high = map(percent, found.interval)
    basis = (
        "from the ranks that all trials had when they were stopped and at their end, and from this"
        " sample"
    )
    return (
        f"<p>A random sample of the trials to prune, {found.audited} of {found.condemned}, was"
        f" trained to completion: {found.wrong} of them beat every survivor. The estimated"
        f" false-pruning rate is <b>{percent(found.rate)}</b> (95 % interval {low} to {high}),"
        f" {basis if found.audited < ENOUGH_AUDITED else 'from this sample'}.</p>"
    )


def failures(summary: Summary) -> str:
    if not summary.failures:
        return "<p>None.</p>"
    return "".join(_failure(reason, rows) for reason, rows in summary.failures.items())


def _failure(reason: str, rows: Sequence[Row]) -> str:
    numbers = ", ".join(f"#{row.number}" for row in rows[:LISTED]) + ", …" * (len(rows) > LISTED)
    trace = next((row.traceback for row in rows if row.traceback), None)
    more = f"<pre>{escaped(trace)}</pre>" if trace else ""
    return (
        f"<details><summary>{len(rows)} × "  # noqa: RUF001
        f"{escaped(reason)}{escaped(hinted(rows[0].hint))}</summary>"
        f'<p class="faint">{numbers}</p>{more}</details>'
    )


def configurations(summary: Summary, listed: int = LISTED) -> str:
    """Return the table of configurations, best first, unfinished and failed ones last."""
    order = {row.number: place for place, row in enumerate(summary.ranking)}
    rows = sorted(summary.rows, key=lambda row: (order.get(row.number, math.inf), row.number))
    known = [row for row in rows if row.settings]
    same = alike(known)
    titles = ["#", "state", escaped(summary.metric), "epochs", "time", "settings"]
    cells = [
        [
            str(row.number),
            _state(row),
            metric(row.latest if row.value is None else row.value),
            str(row.epoch or ""),
            f'<span data-value="{row.seconds:.3f}">{duration(row.seconds)}</span>',
            _settings(row, without=same),
        ]
        for row in rows[:listed]
    ]
    common = (
        ""
        if not same
        else f'<p class="common faint">In all of them: {_settings(known[0], only=same)}</p>'
    )
    left = len(rows) - listed
    note = f'<p class="faint">… and {left} more, in the database.</p>' * (left > 0)
    listing = grid(titles, cells, wrap=True, sortable=True) or "<p>None yet.</p>"
    return common + listing + note


def _state(row: Row) -> str:
    reason = f'<div class="reason">{escaped(brief(row.reason, SHORT))}</div>' if row.reason else ""
    again = f' <span class="faint">at attempt {row.attempts}</span>' * (row.attempts > 1)
    colour = f"--fate: {COLOURS.get(row.state, 'transparent')}"
    return f'<span class="mark" style="{colour}">{row.state}</span>{again}{reason}'


def provenance(summary: Summary, commands: Commands) -> str:
    attrs = summary.attrs
    versions = ", ".join(f"{k} {v}" for k, v in (attrs.get("versions") or {}).items())
    commit = str(attrs.get("git_commit") or "")
    known = {
        "seed": attrs.get("seed"),
        "git commit": commit + ", with uncommitted changes" * bool(attrs.get("git_changes")),
        "versions": versions,
    }
    rows = [[key, escaped(value)] for key, value in known.items() if value not in (None, "")]
    config = attrs.get("config")
    text = f"<pre>{escaped(config)}</pre>" if config else "<p>Not recorded.</p>"
    search = _command("The whole search:", commands.tune_line(summary)) or _pinned(summary)
    base = f"<details><summary>Base configuration</summary>{text}</details>"
    return f"{search}{grid([], rows)}{base}"


def _pinned(summary: Summary) -> str:
    """Return a paragraph with the overrides that are stored with the study."""
    pins = shlex.join(shared(summary.attrs.get("overrides") or []))
    return f"<p>Pinned: {escaped(pins)}</p>" if pins else ""


def _settings(row: Row, without: Collection[str] = (), only: Collection[str] | None = None) -> str:
    return "".join(
        f"<span>{escaped(key)}={escaped(word(value))}</span> "
        for key, value in row.settings.items()
        if key not in without and (only is None or key in only)
    )
