"""The report: the sections of one HTML page that a person can send to a colleague."""

import math
import os
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from optuna import Study

from tuner.report import parameters, plots
from tuner.report.card import shared
from tuner.report.document import document, escaped, section
from tuner.report.parallel import parallel
from tuner.report.plots import COLOURS, Figure
from tuner.report.summary import Row, Summary, summarise
from tuner.report.wording import duration, metric, percent, word


def write_page(study: Study, path: Path) -> Path:
    """Write the report of ``study`` to ``path`` (replaced in one step) and return it."""
    html = page(study, summarise(study))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(html, encoding="utf-8")
    draft.replace(path)
    return path


def page(study: Study, summary: Summary) -> str:
    """The page as text; it holds all of plotly.js, hence about 5 MB."""
    figures: dict[str, Figure] = {}
    body = [
        _head(summary),
        _winner(summary),
        section("Searched space", _space(summary)),
        section("Optimisation history", _plot(figures, "history", plots.history(summary))),
        section("Learning curves", _curves(figures, summary)),
        section(
            "Importance of the parameters",
            _plot(figures, "importances", parameters.importances(study, summary)),
        ),
        section("Parallel coordinates", _parallel(figures, summary)),
        section("Value against each parameter", _slices(figures, summary)),
        section("What pruning saved", _pruning(summary)),
        section("Failures", _failures(summary)),
        section("Configurations", _table(summary)),
        section("How to repeat it", _provenance(summary)),
    ]
    return document(summary.name, body, figures)


def _head(summary: Summary) -> str:
    aim = "highest" if summary.maximize else "lowest"
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    tiles = [(str(n), state) for state, n in summary.counts.items() if n]
    tiles += [(duration(summary.wall), "at work")]
    if summary.hourly:
        rate = f"{summary.hourly:.{0 if summary.hourly >= 10 else 1}f}"
        tiles += [(rate, "configurations an hour")]
    tiles += [(str(summary.epochs), "epochs run")] if summary.epochs else []
    tiles += [(percent(summary.share_saved), "of epochs saved")] if summary.epochs_saved else []
    shown = "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
    return (
        f"<h1>{escaped(summary.name)}</h1>"
        f'<p class="faint">Searched for the {aim} {escaped(summary.metric)} · as of {made}</p>'
        f'<div class="tiles">{shown}</div>'
    )


def _winner(summary: Summary) -> str:
    row = summary.best
    if row is None:
        return section("Winner", "<p>No configuration is complete yet.</p>")
    others = "".join(
        f" · {escaped(name)} {metric(value)}"
        for name, value in row.metrics.items()
        if name != summary.metric
    )
    command = ""
    if row.overrides:
        line = shlex.join(["tuner", "train", *shared(row.overrides)])
        command = (
            f'<p class="faint">To train it again:</p><pre class="command">{escaped(line)}</pre>'
        )
    return section(
        "Winner",
        f'<div class="card"><p><b>{escaped(summary.metric)} {metric(row.value)}</b>'
        f'<span class="faint">{others}</span> · configuration #{row.number}'
        f" · {duration(row.seconds)}</p><p>{_settings(row)}</p>{command}</div>",
    )


def _space(summary: Summary) -> str:
    stored = summary.attrs.get("space") or [
        {"name": name, "distribution": str(kind)} for name, kind in summary.space.items()
    ]
    rows = [
        [escaped(item.get(key) or "") for key in ("name", "distribution", "condition")]
        for item in stored
    ]
    return _grid(["parameter", "distribution", "only with"], rows) or "<p>Not recorded.</p>"


def _curves(figures: dict[str, Figure], summary: Summary) -> str:
    drawn = len(plots.curves_shown(summary))
    every = sum(bool(row.curve) for row in summary.rows)
    left = f'<p class="faint">{drawn} of {every} curves are drawn.</p>' if drawn < every else ""
    return _plot(figures, "curves", plots.curves(summary)) + left


def _parallel(figures: dict[str, Figure], summary: Summary) -> str:
    shape = parallel(summary)
    width = 0 if isinstance(shape, str) else 105 * len(shape["layout"]["shapes"])
    return f'<div class="wide">{_plot(figures, "parallel", shape, width=width)}</div>'


def _slices(figures: dict[str, Figure], summary: Summary) -> str:
    shapes = parameters.slices(summary)
    if not shapes:
        return "<p>No parameter took more than one value.</p>"
    plotted = (
        _plot(figures, f"slice-{k}", shape, width=1) for k, shape in enumerate(shapes.values())
    )
    return f'<div class="slices">{"".join(plotted)}</div>'


def _pruning(summary: Summary) -> str:
    saved, full = summary.epochs_saved, summary.full_length
    if saved is None or not summary.pruned:
        return "<p>Nothing was pruned, or nothing is complete to compare with.</p>"
    return (
        f"<p>{len(summary.pruned)} of {summary.over} finished configurations were pruned. Had each"
        f" run the {full} epochs of a completed one, {saved} more epochs would have been trained"
        f" beside the {summary.epochs} that were: pruning saved"
        f" <b>{percent(summary.share_saved)}</b>.</p>"
    )


def _failures(summary: Summary) -> str:
    if not summary.failures:
        return "<p>None.</p>"
    return "".join(_failure(reason, rows) for reason, rows in summary.failures.items())


def _failure(reason: str, rows: Sequence[Row]) -> str:
    numbers = ", ".join(f"#{row.number}" for row in rows)
    trace = next((row.traceback for row in rows if row.traceback), None)
    more = f"<pre>{escaped(trace)}</pre>" if trace else ""
    return (
        f"<details><summary>{len(rows)} × {escaped(reason)}</summary>"  # noqa: RUF001
        f'<p class="faint">{numbers}</p>{more}</details>'
    )


def _table(summary: Summary) -> str:
    order = {row.number: place for place, row in enumerate(summary.ranking)}
    rows = sorted(summary.rows, key=lambda row: (order.get(row.number, math.inf), row.number))
    titles = ["#", "state", escaped(summary.metric), "epochs", "time", "attempts", "settings"]
    cells = [
        [
            str(row.number),
            _state(row),
            metric(row.latest if row.value is None else row.value),
            str(row.epoch or ""),
            duration(row.seconds),
            str(row.attempts),
            _settings(row),
        ]
        for row in rows
    ]
    return _grid(titles, cells, wrap=True) or "<p>None yet.</p>"


def _state(row: Row) -> str:
    reason = f' <span class="faint">{escaped(row.reason)}</span>' if row.reason else ""
    colour = f"--fate: {COLOURS.get(row.state, 'transparent')}"
    return f'<span class="mark" style="{colour}">{row.state}</span>{reason}'


def _provenance(summary: Summary) -> str:
    attrs = summary.attrs
    versions = ", ".join(f"{k} {v}" for k, v in (attrs.get("versions") or {}).items())
    known = {
        "seed": attrs.get("seed"),
        "pinned": shlex.join(shared(attrs.get("overrides") or [])),
        "git commit": attrs.get("git_commit"),
        "versions": versions,
    }
    rows = [[key, escaped(value)] for key, value in known.items() if value not in (None, "")]
    config = attrs.get("config")
    text = f"<pre>{escaped(config)}</pre>" if config else "<p>Not recorded.</p>"
    return f"{_grid([], rows)}<details><summary>Base configuration</summary>{text}</details>"


def _settings(row: Row) -> str:
    items = row.settings.items()
    return "".join(f"<span>{escaped(key)}={escaped(word(value))}</span> " for key, value in items)


def _plot(figures: dict[str, Figure], name: str, shape: Figure | str, *, width: int = 0) -> str:
    """An element for ``shape``, entered into ``figures``; a note stays a paragraph."""
    if isinstance(shape, str):
        return f'<p class="faint">{escaped(shape)}</p>'
    figures[f"plot-{name}"] = shape
    height = shape["layout"]["height"]
    return (
        f'<div class="plot" id="plot-{name}" style="height:{height}px;min-width:{width}px"></div>'
    )


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool = False) -> str:
    """A table of cells that are HTML already, its last column wrapped; nothing without rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{title}</th>" for title in titles)
    last = len(rows[0]) - 1
    body = "".join(
        "<tr>"
        + "".join(_cell(cell, wrap=wrap and k == last) for k, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(html: str, *, wrap: bool) -> str:
    return f'<td class="settings">{html}</td>' if wrap else f"<td>{html}</td>"
