"""Show the trials of a study on a terminal: all of them as a table, or one with all details."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuner.log import brief
from tuner.report.configurations import Row, alike
from tuner.report.formatting import duration, finite, metric, plain, size, word
from tuner.report.summary import Summary
from tuner.report.terminal.log_lines import settings
from tuner.report.terminal.screen import grid
from tuner.report.terminal.view import COLOURS, sparkline, with_common
from tuner.report.trial_table import files, place
from tuner.study import run_files
from tuner.worker import metrics_log

REASON = 60
"""Maximum number of characters of a reason in the table."""
CURVE = 40
"""Maximum number of columns of a curve."""
LOG = 20
"""Maximum number of lines of the workers' logs that are shown of a trial."""
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""The beginning of each entry of a log; other lines continue the entry before."""


def table(summary: Summary, rows: Sequence[Row]) -> RenderableType:
    """Return one line per configuration, with the settings that vary most first.

    Settings that all of them share appear once, below the table; reasons precede the settings.
    """
    if not rows:
        return Text("no such trial")
    lines = grid()
    lines.add_column("#", justify="right", no_wrap=True)
    lines.add_column("state", no_wrap=True)
    for title in (*map(plain, summary.objectives), "epochs", "time"):
        lines.add_column(title, justify="right", no_wrap=True)
    lines.add_column("settings")
    same, order = alike(rows), _varied(rows)
    for row in rows:
        values = _values(row, len(summary.objectives))
        numbers = (*map(metric, values), str(row.epoch or ""), duration(row.seconds))
        state = Text(row.state, COLOURS[row.state])
        lines.add_row(str(row.number), state, *map(Text, numbers), _settled(row, same, order))
    return with_common(lines, rows, same)


def _values(row: Row, count: int) -> list[float | None]:
    """Return a value for each objective; the last reported one of a trial that has none yet."""
    first = row.latest if row.value is None else row.value
    return [first, *row.values[1:count], *[None] * (count - max(1, len(row.values)))]


def _varied(rows: Sequence[Row]) -> list[str]:
    """Return the keys of all settings, those with the most different values first."""
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    count = {key: len({str(row.settings.get(key)) for row in rows}) for key in keys}
    return sorted(keys, key=lambda key: -count[key])


def _settled(row: Row, same: set[str], order: Sequence[str]) -> Text:
    reason = f"{brief(plain(row.reason), REASON)}  " if row.reason else ""
    known = row.settings
    ordered = replace(row, params={key: known[key] for key in order if key in known})
    # Cut here: a column that does not wrap would take width from the numbers.
    text = Text(no_wrap=True, overflow="ellipsis")
    return text.append(reason, "bright_black").append(settings(ordered, without=same))


def details(summary: Summary, row: Row, directory: Path, again: str) -> RenderableType:
    """Return all details of one configuration.

    Args:
        directory: The study's directory on this machine.
        again: The command that repeats it; empty if it is unknown.
    """
    parts = [
        _head(summary, row),
        _pairs({key: word(value) for key, value in row.settings.items()}),
        _curves(summary, row, directory),
        _pairs(_facts(row)),
        _ending(row),
        _pairs(_places(row, directory)),
        _log(row, directory),
        Text(f"train it again:\n  {again}") if again else None,
    ]
    shown = [part for part in parts if part is not None]
    return Group(*(piece for part in shown for piece in (part, Text())))


def _head(summary: Summary, row: Row) -> Text:
    head = Text(f"{plain(summary.name)} #{row.number}", "bold")
    head.append(f"  {row.state}", COLOURS[row.state])
    for name, value in zip(summary.objectives, _values(row, len(summary.objectives)), strict=True):
        head.append(f"  {plain(name)} {metric(value)}" * (value is not None))
    best = summary.best
    if best is row:
        head.append("  the best so far")
    elif best is not None:
        head.append(f"  best so far {metric(best.value)} (#{best.number})", "bright_black")
    return head


def _pairs(items: Mapping[str, str]) -> Table | None:
    """Return a table of names and texts; None without any."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="bright_black", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, text in items.items():
        lines.add_row(Text(plain(name)), Text(plain(text)))
    return lines if items else None


def _curves(summary: Summary, row: Row, directory: Path) -> Table | None:
    """Return the curve of each metric: a line, its first and last value, and the best epoch's."""
    curves = {summary.metric: row.curve}
    run_dir = place(row, directory)
    if run_dir is not None and not (run_dir / metrics_log.FILE).is_symlink():
        curves = {**metrics_log.curves(metrics_log.read(run_dir)), **curves}
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="bright_black", no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column()
    names = [summary.metric, *(name for name in curves if name != summary.metric)]
    for name in names:
        points = {x: y for x, y in curves[name].items() if isinstance(y, int | float)}
        known = [y for y in points.values() if finite(y)]
        if not known:
            continue
        line = sparkline(replace(row, curve=points), CURVE, row.length)
        first, last = points[min(points)], points[max(points)]
        told = f"{metric(first)} to {metric(last)}" if len(points) > 1 else metric(last)
        lines.add_row(Text(plain(name)), Text(line, "cyan"), Text(told))
    return lines if lines.row_count else None


def _facts(row: Row) -> dict[str, str]:
    of = f" of {row.length}" if row.length else ""
    known: dict[str, str] = {
        "epochs": f"{row.epoch}{of}" if row.epoch else "",
        "time": duration(row.seconds) + f" in {row.attempts} attempts" * (row.attempts > 1),
        "finished": f"{row.finished:%Y-%m-%d %H:%M:%S}" if row.over and row.finished else "",
        "worker": " ".join(
            filter(None, [row.worker, f"on {row.host}" if row.host else None, row.device])
        ),
        "origin": row.origin or "",
        "repeats": "" if row.repeats is None else f"#{row.repeats}",
    }
    known |= {name: word(value) for name, value in row.facts.items() if name not in known}
    return {name: text for name, text in known.items() if text}


def _ending(row: Row) -> RenderableType | None:
    """Return the reason why a configuration has no value, with the traceback of an error."""
    told = _pairs({k: t for k, t in (("reason", row.reason), ("hint", row.hint)) if t})
    if told is None or not row.traceback:
        return told
    return Group(told, Text(), Text(row.traceback.rstrip(), "red"))


def _places(row: Row, directory: Path) -> dict[str, str]:
    found = files(row, directory)
    if found["run_dir"] is None:
        where = f"not on this machine: {row.run_dir}" if row.run_dir else ""
        return {"directory": where} if where else {}
    checkpoint = found["checkpoint"]
    held = f" ({size(run_files.size(Path(checkpoint)))})" if checkpoint else ""
    return {"directory": found["run_dir"], "checkpoint": f"{checkpoint or 'none'}{held}"}


def _log(row: Row, directory: Path) -> Text | None:
    """Return the last lines about a configuration in the workers' logs on this machine."""
    entries = [entry for path in directory.glob("logs/*.log") for entry in _entries(path, row)]
    lines = [line for entry in sorted(entries) for line in entry]
    if not lines:
        return None
    more = f"  … {len(lines) - LOG} lines before\n" if len(lines) > LOG else ""
    shown = "\n".join(f"  {line}" for line in lines[-LOG:])
    return Text(f"log:\n{more}{shown}")


def _entries(path: Path, row: Row) -> Iterator[list[str]]:
    """Yield the entries of a log that name a trial, as their lines."""
    mine = re.compile(rf"\btrial {row.number}\b")
    entry: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if STAMP.match(line):
                if entry:
                    yield entry
                entry = [line.rstrip("\n")] if mine.search(line) else []
            elif entry:
                entry.append(line.rstrip("\n"))
    if entry:
        yield entry
