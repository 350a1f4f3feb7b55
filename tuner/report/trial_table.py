"""The trials of a study as a table: filtered, sorted, and as data for programs."""

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from tuner.config import directories
from tuner.config.types import nearest
from tuner.errors import ConfigError
from tuner.report import formatting
from tuner.report.configurations import STATES, Repeat, Row, as_data
from tuner.report.summary import Summary
from tuner.study import run_files

Key = Callable[[Row], Any]
"""Returns the sort key of a row; rows for which it is None come last."""


def select(
    summary: Summary, states: Collection[str] = (), sort: str = "number", *, reverse: bool = False
) -> list[Row]:
    """Return the configurations in some states, sorted.

    Args:
        states: States to include; all if empty.
        sort: ``number``, ``state``, ``value`` (best first), ``epochs``, ``seconds``, ``finished``,
            or the name of an objective, a reported metric or a setting. The last part of a
            setting's name is enough if it is unique.
        reverse: Reverse the order; rows without a value stay last.

    Raises:
        ConfigError: No configuration has anything of that name.
    """
    key = _key(summary, sort)
    rows = [row for row in summary.rows if not states or row.state in states]
    known = [row for row in rows if key(row) is not None]
    ordered = sorted(known, key=lambda row: _comparable(key(row)), reverse=reverse)
    return [*ordered, *(row for row in rows if key(row) is None)]


def _key(summary: Summary, name: str) -> Key:
    fixed: dict[str, Key] = {
        "number": lambda row: row.number,
        "state": lambda row: STATES.index(row.state),
        "value": lambda row: _signed(row.value, up=summary.maximize),
        "epochs": lambda row: row.epoch,
        "seconds": lambda row: row.seconds,
        "finished": lambda row: row.finished,
    }
    names = list(summary.objectives)
    metrics = {metric for row in summary.rows for metric in row.metrics}
    settings = {key for row in summary.rows for key in row.settings}
    if name in fixed:
        return fixed[name]
    if name == summary.metric:
        return fixed["value"]
    if name in names:
        place, up = names.index(name), summary.objectives[name]
        return lambda row: _signed(row.values[place], up=up) if row.values else None
    if name in metrics:
        return lambda row: row.metrics.get(name)
    same = [key for key in settings if name in (key, key.rpartition(".")[2])]
    if name in same or len(same) == 1:
        key = name if name in same else same[0]
        return lambda row: row.settings.get(key)
    known = list(dict.fromkeys([*fixed, *names, *sorted(settings), *sorted(metrics)]))
    raise ConfigError(f"no column {name!r}", key="--sort", hint=nearest(name, known))


def _signed(value: float | None, *, up: bool) -> float | None:
    """Return a value such that smaller is better, None if it is unknown."""
    if value is None or math.isnan(value):
        return None
    return -value if up else value


def _comparable(value: Any) -> tuple[bool, Any]:
    """Return a sort key for a column of numbers and strings; numbers come first."""
    return isinstance(value, str), value


def place(row: Row, directory: Path) -> Path | None:
    """Return the run directory of a configuration, None if this machine does not have it.

    Args:
        directory: The study's directory; paths outside of it are ignored.
    """
    run_dir = directories.of_run(directory, row.run_dir)
    return run_dir if run_dir is not None and run_dir.is_dir() else None


def files(row: Row, directory: Path) -> dict[str, str | None]:
    """Return the run directory and its latest checkpoint; None for what this machine lacks."""
    run_dir = place(row, directory)
    checkpoint = None if run_dir is None else run_files.checkpoint(run_dir)
    return {
        "run_dir": None if run_dir is None else str(run_dir),
        "checkpoint": None if checkpoint is None else str(checkpoint),
    }


def record(summary: Summary, row: Row, directory: Path, repeat: Repeat) -> dict[str, Any]:
    """Return all details of a configuration as plain data, except curve and traceback."""
    finished = row.finished.astimezone(UTC).isoformat() if row.finished else None
    return {
        **as_data(row, repeat),
        "state": row.state,
        "values": dict(zip(summary.objectives, row.values, strict=False)),
        "epochs": row.epoch,
        "length": row.length,
        "seconds": row.seconds,
        "finished": finished,
        "attempts": row.attempts,
        "worker": row.worker,
        "host": row.host,
        "device": row.device,
        "origin": row.origin,
        "reason": row.reason,
        "hint": row.hint or None,
        **files(row, directory),
    }


PLAIN = (
    "number", "state", "value", "epochs", "seconds", "finished", "attempts", "worker", "host",
    "device", "origin", "reason", "run_dir", "checkpoint",
)  # fmt: skip
"""Columns of the CSV that are not mappings."""


def as_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV; mappings are spread over columns such as ``params.optimizer.lr``."""
    flat = [_flat(record) for record in records]
    more = sorted({name for row in flat for name in row} - {*PLAIN})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*PLAIN, *more], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    cells = {name: record[name] for name in PLAIN}
    for group in ("values", "metrics", "facts"):
        cells |= {f"{group}.{name}": value for name, value in record[group].items()}
    cells |= {f"params.{name}": _worded(value) for name, value in record["params"].items()}
    return {name: "" if value is None else value for name, value in cells.items()}


def _worded(value: Any) -> Any:
    """Return a setting as written in an override, with all digits."""
    return value if isinstance(value, float) else formatting.word(value)
