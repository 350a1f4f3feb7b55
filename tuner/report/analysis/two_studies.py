"""Compare two studies: their results, their costs and the differences in their settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.errors import StudyError
from tuner.report.configurations import Row
from tuner.report.formatting import duration, finite, metric, percent, word
from tuner.report.summary import Summary, limits_of
from tuner.study import stored_config

ABSENT = "-"
"""Shown for a value that only the other study has."""

Cells = tuple[str, str, str]
"""A row of a table: a name, and its values in the first and in the second study."""


@dataclass(frozen=True)
class Step:
    """The end of a configuration: the cost of the study up to then, and the best value so far."""

    epochs: int
    hours: float
    """Device hours."""
    best: float | None
    number: int


def progress(summary: Summary) -> list[Step]:
    """Return the best value so far at the end of each configuration, in the order of their ends.

    Epochs and time of configurations that were still running are not counted yet. The time of a
    device is divided among the workers that share it.
    """
    ended = [row for row in summary.rows if row.over and row.finished is not None]
    worked = sum(row.seconds for row in summary.rows)
    part = summary.device_hours / worked if worked else 0.0
    steps: list[Step] = []
    epochs, hours, best = 0, 0.0, None
    for row in sorted(ended, key=lambda row: (row.finished, row.number)):
        epochs, hours = epochs + len(row.curve), hours + part * row.seconds
        better = row.state == "complete" and finite(row.value)
        if better and (best is None or summary.loss(row.value) < summary.loss(best)):
            best = row.value
        steps.append(Step(epochs, hours, best, row.number))
    return steps


def comparable(one: Summary, other: Summary) -> bool:
    """Return whether two studies optimise the same metric in the same direction."""
    return (one.metric, one.maximize) == (other.metric, other.maximize)


def overview(one: Summary, other: Summary) -> list[Cells]:
    """Return the results and the costs of both studies."""
    first, second = _reached(one), _reached(other)
    rows = [(name, first[name], second[name]) for name in first]
    return [*rows, *(_at_equal_cost(one, other) if comparable(one, other) else ())]


def _reached(summary: Summary) -> dict[str, str]:
    best = summary.best
    return {
        "objective": summary.aim,
        "best": f"{metric(best.value)} (#{best.number})" if best else ABSENT,
        "configurations": summary.tally or "none",
        "epochs": str(summary.epochs),
        "epochs saved by pruning": percent(summary.epochs_saved_fraction)
        if summary.epochs_saved
        else ABSENT,
        "device time": duration(3600 * summary.device_hours),
        "work time": duration(summary.wall),
    }


def _at_equal_cost(one: Summary, other: Summary) -> Iterator[Cells]:
    """Yield the best value of both studies at the total cost of the cheaper one."""
    steps = progress(one), progress(other)
    if not all(steps):
        return
    epochs = min(each[-1].epochs for each in steps)
    hours = min(each[-1].hours for each in steps)
    by_epochs = [_last(s for s in each if s.epochs <= epochs) for each in steps]
    by_time = [_last(s for s in each if s.hours <= hours) for each in steps]
    if epochs:
        yield f"best after {epochs} epochs", *by_epochs  # type: ignore[misc]
    if hours:
        yield f"best after {duration(3600 * hours)} of device time", *by_time  # type: ignore[misc]


def _last(steps: Iterator[Step]) -> str:
    known = [step.best for step in steps]
    return metric(known[-1]) if known and known[-1] is not None else ABSENT


def differences(one: Summary, other: Summary) -> dict[str, list[Cells]]:
    """Return the differences by topic; topics without a difference are missing.

    The topics are ``budget``, ``space``, ``settings``, ``sampler and pruner``, ``code`` and
    ``best configuration``.
    """
    topics = {
        "budget": _apart(_budget(one), _budget(other)),
        "space": _apart(_space(one), _space(other)),
        "settings": _apart(_config(one, "config"), _config(other, "config")),
        "sampler and pruner": _apart(_config(one, "search"), _config(other, "search")),
        "code": _apart(_code(one), _code(other)),
        "best configuration": _apart(_settings(one.best), _settings(other.best)),
    }
    return {topic: rows for topic, rows in topics.items() if rows}


def _apart(one: Mapping[str, str], other: Mapping[str, str]) -> list[Cells]:
    names = dict.fromkeys([*one, *other])
    found = ((name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in names)
    return [cells for cells in found if cells[1] != cells[2]]


def _budget(summary: Summary) -> dict[str, str]:
    limits = limits_of(summary.attrs)
    known = {
        "study.n_trials": limits.n_trials,
        "epochs of a trial": limits.length,
        **{f"budget.{key}": getattr(limits, key) for key in
           ("epochs", "hours", "device_hours", "stop_when", "noise", "repeats")},
    }  # fmt: skip
    return {name: word(value) for name, value in known.items() if value is not None}


def _space(summary: Summary) -> dict[str, str]:
    _, rows = summary.searched
    return {name: " ".join([kind, *(f"with {c}" for c in rest if c)]) for name, kind, *rest in rows}


def _config(summary: Summary, key: str) -> dict[str, str]:
    text = summary.attrs.get(key)
    try:
        known = stored_config.flat(text) if isinstance(text, str) else {}
    except StudyError as error:
        return {"": str(error)}
    return {name: word(value) for name, value in known.items()}


def _code(summary: Summary) -> dict[str, str]:
    attrs: Mapping[str, Any] = summary.attrs
    known: dict[str, Any] = {
        "git commit": (attrs.get("git_commit") or "")[:10],
        "uncommitted changes": (attrs.get("git_changes") or "")[:10],
        "file of the objective": (attrs.get("source") or "")[:10],
        **(attrs.get("versions") or {}),
    }
    return {name: str(value) for name, value in known.items() if value}


def _settings(row: Row | None) -> dict[str, str]:
    return {} if row is None else {key: word(value) for key, value in row.settings.items()}


def titles(one: Summary, other: Summary) -> Sequence[str]:
    """Return the titles of a table of ``Cells``."""
    return "", one.name, other.name
