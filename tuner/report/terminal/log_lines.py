"""Describe a study in single lines, for log files and for the live view."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from rich.console import Console
from rich.text import Text

from tuner.log import brief
from tuner.report.configurations import Row, alike
from tuner.report.formatting import duration, metric, plain, word
from tuner.report.summary import Summary

SHORT = 60
"""Maximum number of characters of a reason in a line; the report has the whole text."""


class Lines:
    """Logs one line for every configuration that ends."""

    def __init__(self, console: Console, n_trials: int | None) -> None:
        self.console = console
        self.n_trials = n_trials
        self.told: set[tuple[int, int]] | None = None
        self.lost: set[str] = set()
        """Reasons, already shown, why the study cannot be read at present; empty if it can."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, summary: Summary) -> None:
        if self.lost:
            self._say("the study can be read again")
            self.lost = set()
        over = [row for row in summary.rows if row.over]
        if self.told is None:
            self.told = {_attempt(row) for row in over}
            if over and not summary.is_final:
                of = "" if self.n_trials is None else f" of {self.n_trials}"
                self._say(f"{len(over)}{of} finished before; {best_line(summary)}")
        ended = [row for row in over if _attempt(row) not in self.told]
        for row in sorted(ended, key=lambda row: (row.finished is None, row.finished, row.number)):
            self.told.add(_attempt(row))
            self._say(_line(row, summary))

    def away(self, reason: str) -> None:
        if reason not in self.lost:
            self._say(f"the study cannot be read at present: {reason}")
        self.lost.add(reason)

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)


def best_line(summary: Summary) -> str:
    """Return the best configuration so far as one line, with the settings that vary first."""
    row = summary.best
    if row is None:
        return "best: none yet"
    same = alike(summary.rows)
    shown = replace(row, params=dict(sorted(row.params.items(), key=partial(_rank, same))))
    return f"best {metric(row.value)} (#{row.number}) {settings(shown)}".rstrip()


def _rank(same: Collection[str], item: tuple[str, object]) -> int:
    """Return a key that sorts the learning rate first and what does not vary last."""
    key = item[0].partition("@")[0]
    return 2 if key in same else 1 - (key.rpartition(".")[2] == "lr")


def settings(row: Row, without: Collection[str] = ()) -> str:
    """Return the parameters as one line, without their groups if the names remain distinct."""
    leaves = Counter(key.rpartition(".")[2] for key in row.settings)
    parts = []
    for key, value in row.settings.items():
        if key in without:
            continue
        leaf = key.rpartition(".")[2]
        parts.append(f"{leaf if leaves[leaf] == 1 else key}={word(value)}")
    return plain(" ".join(parts))


def _line(row: Row, summary: Summary) -> str:
    value = row.latest if row.value is None else row.value
    reason = brief(plain(row.reason or ""), SHORT)
    parts = [f"{name_of(row, summary)} {row.state}", metric(value), reason]
    parts += [f"epoch {row.epoch}" if row.epoch else "", f"in {duration(row.seconds)}"]
    best = summary.best
    if not summary.is_final:  # the best of trainings with different splits means nothing
        parts.append(
            "best" if best is row else f"best {metric(best.value)} (#{best.number})" if best else ""
        )
    return "  ".join(part for part in parts if part)


def name_of(row: Row, summary: Summary) -> str:
    """Return the number of a configuration; of a training of `tuner final`, what it trains."""
    return plain(row.origin) if summary.is_final and row.origin else f"#{row.number}"


def _attempt(row: Row) -> tuple[int, int]:
    return row.number, row.attempts
