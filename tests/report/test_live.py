"""The live view on a real terminal (a pty), and its lines elsewhere."""

import io
import logging
import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from rich.console import Console, RenderableType

from tests.samples import NOW, START, C, F, P, R, add, full_study, new_study
from tuner.log import log
from tuner.report.formatting import word
from tuner.report.summary import Summary, summarise
from tuner.report.terminal.live import follow
from tuner.report.terminal.view import closing, remaining, table


def rounds(count: int) -> Callable[[], bool]:
    """True ``count`` times, then False: workers that run for so many looks."""
    left = iter([True] * count)
    return lambda: next(left, False)


def lines(looks: list[Callable[[], Summary]], n_trials: int = 24) -> list[str]:
    """What `follow` writes to a file in the course of the looks."""
    console = Console(file=io.StringIO(), width=60)
    left = list(looks)
    follow(
        lambda: left.pop(0)(),
        lambda: len(left) > 1,
        console=console,
        n_trials=n_trials,
        epochs=10,
        every=0.0,
    )
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


class Terminal:
    """A pty of a given size that remembers everything written to it."""

    def __init__(self, width: int) -> None:
        self.master, self.slave = pty.openpty()
        self.file = os.fdopen(self.slave, "w", encoding="utf-8")
        self.console = Console(file=self.file, width=width, height=24, force_interactive=True)
        self.written = b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.master, 4096):
                self.written += chunk
        except OSError:
            pass  # how Linux says that the other end is closed

    def close(self) -> str:
        self.file.close()
        self.reader.join(5)
        os.close(self.master)
        return self.written.decode()


@pytest.fixture
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal(getattr(request, "param", 80))


def test_plain_lines_tell_each_configuration_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5, 0.6], seconds=65)
    before = summarise(study, now=NOW)
    add(study, P, [0.3], seconds=5)
    add(study, P, [0.1], seconds=5, reason="diverged: loss\nis nan")
    middle = summarise(study, now=NOW)
    add(study, C, [0.7, 0.9], seconds=5)
    add(study, F, [], reason="ValueError", traceback="Traceback (most recent call last):")
    after = summarise(study, now=NOW)
    shown = lines([lambda: before, lambda: middle, lambda: after, lambda: after])
    assert shown == [
        "1 of 24 finished before; best 0.6 (#0)",
        "#1 pruned  0.3  epoch 1  in 5.0 s  best 0.6 (#0)",
        "#2 infeasible  0.1  diverged: loss is nan  epoch 1  in 5.0 s  best 0.6 (#0)",
        "#3 complete  0.9  epoch 2  in 5.0 s  best",
        "#4 failed  ValueError  in 10 s  best 0.9 (#3)",
    ]


def test_a_retry_that_ends_is_told_anew(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    empty = summarise(study, now=NOW)
    add(study, F, [0.1], reason="lost")
    failed = summarise(study, now=NOW)
    add(study, C, [0.1, 0.5], retry_of=0)
    done = summarise(study, now=NOW)
    shown = lines([lambda: empty, lambda: failed, lambda: done])
    assert [line[:12] for line in shown] == ["#0 failed  0", "#0 complete "]


def test_a_database_that_is_away_is_said_once(tmp_path: Path) -> None:
    summary = summarise(new_study(tmp_path))

    def away() -> Summary:
        raise StorageInternalError("lost postgresql://me:secret@host/db\nTraceback")

    def other() -> Summary:
        raise StorageInternalError("starting up")

    shown = lines([lambda: summary, away, away, other, away, lambda: summary, away])
    lost = "the study cannot be read at present: lost (storage URL)"
    starting = "the study cannot be read at present: starting up"
    assert shown == [lost, starting, "the study can be read again", lost]


def test_force_color_does_not_make_a_file_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    study = new_study(tmp_path)
    empty = summarise(study, now=NOW)
    add(study, C, [0.5])
    full = summarise(study, now=NOW)
    shown = lines([lambda: empty, lambda: full])
    assert len(shown) == 1
    assert "\x1b[" not in shown[0].replace("\x1b[0m", "")


@pytest.mark.parametrize("terminal", [60, 200], indirect=True)
def test_the_view_shows_the_running_the_best_and_the_counts(
    tmp_path: Path, terminal: Terminal
) -> None:
    summary = summarise(full_study(tmp_path), now=NOW)
    follow(lambda: summary, rounds(2), console=terminal.console, n_trials=40, epochs=10, every=0.0)
    width = terminal.console.width
    shown = terminal.close()
    for part in ("digits", "27 of 40", "13 complete", "1 running", "best 0.9", "2/10"):
        assert part in shown
    assert ("cuda:0" in shown) == (width == 200)
    assert "left" in shown
    frames = shown.replace("\r\n", "\n").replace("\r", "\n")  # a redraw begins with a return
    for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames).splitlines():
        assert len(line) <= width


def test_no_color_is_honoured(
    tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=terminal.file, width=80, height=24, force_interactive=True)
    summary = summarise(full_study(tmp_path), now=NOW)
    follow(lambda: summary, rounds(1), console=console, n_trials=40, epochs=10, every=0.0)
    shown = terminal.close()
    assert "best 0.9" in shown
    for colour in ("\x1b[3", "\x1b[9", ";3", "\x1b[4"):
        assert colour not in shown


def test_stored_strings_cannot_move_the_cursor_or_be_markup(
    tmp_path: Path, terminal: Terminal
) -> None:
    study = new_study(tmp_path, "\x1b[2J[red]name[/red]\x07")
    add(study, R, [0.5], device="\x1b]0;owned\x07")
    summary = summarise(study, now=NOW)
    follow(lambda: summary, rounds(1), console=terminal.console, n_trials=4, epochs=2, every=0.0)
    shown = terminal.close()
    assert "[red]name[/red]" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]0;" not in shown


def test_logs_go_above_the_view_not_through_it(
    tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.file)
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(log, "handlers", [handler])
    summary = summarise(new_study(tmp_path))

    def snapshot() -> Summary:
        assert handler.stream is not terminal.file
        return summary

    follow(snapshot, rounds(2), console=terminal.console, n_trials=4, epochs=None, every=0.0)
    assert handler.stream is terminal.file
    terminal.close()


def test_the_terminal_is_restored_when_looking_fails(tmp_path: Path, terminal: Terminal) -> None:
    def broken() -> Summary:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(broken, rounds(2), console=terminal.console, n_trials=4, epochs=2, every=0.0)
    assert terminal.close().rstrip().endswith("\x1b[?25h")  # the cursor is shown again


def test_more_running_than_fit_are_counted(tmp_path: Path, terminal: Terminal) -> None:
    study = new_study(tmp_path)
    for _ in range(30):
        add(study, R, [0.5])
    summary = summarise(study, now=NOW)
    follow(lambda: summary, rounds(1), console=terminal.console, n_trials=40, epochs=2, every=0.0)
    assert "and 14 more" in terminal.close()


def test_time_left_counts_running_epochs(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5] * 10, seconds=100)
    assert remaining(summarise(study, now=NOW), 3, 10) == 200
    add(study, R, [0.5] * 10, start=0)
    now = START + timedelta(seconds=100)
    assert remaining(summarise(study, now=now), 3, 10) == 50
    assert remaining(summarise(new_study(tmp_path, "empty")), 3, 10) is None


@pytest.mark.parametrize("width", [60, 200])
def test_the_table_is_ordered_with_a_line_each(tmp_path: Path, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    summary = summarise(full_study(tmp_path), now=NOW)
    console.print(table(summary, top=3))
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[:3] for line in shown[1:]] == [
        [str(row.number), f"{row.value:.5g}", "10"] for row in summary.ranking[:3]
    ]
    assert "optimizer=sgd lr=0.005" in shown[1]
    assert ("…" in shown[1]) == (width == 60)


def test_a_long_reason_is_cut_in_a_line(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    empty = summarise(study, now=NOW)
    add(study, P, [], reason="block 2 leaves nothing: " + "long " * 30, reason_hint="smaller")
    full = summarise(study, now=NOW)
    (line,) = lines([lambda: empty, lambda: full])
    assert "block 2 leaves nothing: long" in line
    assert "…" in line
    assert "smaller" not in line
    assert len(line) < 120


@pytest.mark.parametrize("width", [60, 200])
def test_the_last_table_cuts_no_setting_and_says_once_what_is_alike(
    tmp_path: Path, width: int
) -> None:
    console = Console(file=io.StringIO(), width=width)
    summary = summarise(full_study(tmp_path), now=NOW)
    console.print(closing(summary, top=3))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    words = shown.split()
    rows = summary.ranking[:3]
    values = {key: {word(row.settings.get(key)) for row in rows} for key in rows[0].settings}
    alike = [key.rpartition(".")[2] for key, found in values.items() if len(found) == 1]
    assert alike
    assert all(sum(w.startswith(f"{key}=") for w in words) == 1 for key in alike)
    assert sum(w.startswith("lr=") for w in words) == 3
    assert not any("in all" in line for line in _lines_of(closing(summary, top=1), console))


def _lines_of(shown: RenderableType, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


@pytest.mark.parametrize("terminal", [120], indirect=True)
def test_a_terminal_that_became_narrower_is_cleared_of_what_it_folded(
    tmp_path: Path, terminal: Terminal
) -> None:
    summary = summarise(full_study(tmp_path), now=NOW)
    looks = 0

    def snapshot() -> Summary:
        nonlocal looks
        looks += 1
        if looks == 2:
            terminal.console.width = 40
        return summary

    follow(snapshot, rounds(1), console=terminal.console, n_trials=40, epochs=10, every=0.0)
    second = terminal.close().split("digits")[1]
    frame = f"digits{second}".partition("\x1b[2K")[0]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "").split("\n")
    assert second.count("\x1b[1A") == sum(max(1, -(-len(line) // 40)) for line in lines) - 1
    assert len(lines) < sum(max(1, -(-len(line) // 40)) for line in lines)
