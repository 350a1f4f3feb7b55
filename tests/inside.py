"""Run a command line in this process, for tests whose subject is not the process."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import warm
from tuner import cli
from tuner.log import log
from tuner.storage import database
from tuner.storage.trial_storage import Trials


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(words: Sequence[str], directory: Path, env: Mapping[str, str]) -> Said:
    """Run ``tuner WORDS`` in a directory, with more in its environment; its workers are forked."""
    out, err = io.StringIO(), io.StringIO()
    with _restored(directory), pytest.MonkeyPatch.context() as patch, connections_closed(patch):
        patch.chdir(directory)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setattr(subprocess, "Popen", warm.Popen)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(list(words))
            except SystemExit as stop:
                code = int(stop.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


@contextmanager
def _restored(directory: Path) -> Iterator[None]:
    """What a process has of its own, modules of the directory included, is as it was after it."""
    environment, path, keeps_no_code = dict(os.environ), [*sys.path], sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # Python takes code of the same second and size for the same
    try:
        with logging_restored():
            yield
    finally:
        sys.dont_write_bytecode = keeps_no_code
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        for name, module in [*sys.modules.items()]:
            if str(getattr(module, "__file__", None)).startswith(f"{directory}/"):
                del sys.modules[name]


@contextmanager
def logging_restored() -> Iterator[None]:
    """A command sends the log to stderr alone; whoever comes next must not inherit that.

    pytest listens at a logger that does not propagate, so that setting it back too late counts
    every record twice.
    """
    level = log.level
    yield
    log.propagate = True
    log.setLevel(level)
    for handler in [h for h in log.handlers if type(h) is logging.StreamHandler]:
        log.removeHandler(handler)


@contextmanager
def connections_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command's connections end with it, as with a process: SQLite's locks belong to one."""
    opened = []
    connect = database.connect

    def recorded(url: str, **options: bool) -> Trials:
        opened.append(connect(url, **options))
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", recorded)
        yield
    for each in opened:
        each.close()
