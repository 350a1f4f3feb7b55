"""Runs the parts of a benchmark, each in its own process with its own time limit.

A part that fails, hangs or crashes loses only its own figures.  Results are written to disk after
every part, as the machine may be taken away at any time.
"""

import dataclasses
import json
import os
import select
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

ROOT = Path(__file__).parents[2]

FIGURES = "{figures}"
"""Placeholder in a part's command for the JSON file to which it writes its figures.

The file is in a directory of its own, which is removed after the part.
"""

MARK = "TUNER_BENCHMARK_PART"
"""Environment variable that marks all processes of a part, whatever their session."""

TAIL = 6_000
"""Characters that are kept from the end of a part's output."""

WORTH_STARTING = 5.0
"""Seconds: with less time left a part is not started."""

LAST_WORDS = 3.0
"""Seconds for hanging processes to write their stacks."""

PATIENCE = 10.0
"""Seconds to wait for killed processes; one that is blocked in a driver does not end."""


@dataclass(frozen=True)
class Part:
    """A command that measures something, and the seconds it may take."""

    name: str
    command: Sequence[str]
    limit: float
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """The outcome of a part."""

    outcome: Literal["done", "failed", "stopped at its limit", "no time left"]
    seconds: float = 0.0
    limit: float = 0.0
    exit_code: int | None = None
    command: str = ""
    figures: Any = None
    tail: str = ""


def run(
    parts: Sequence[Part], seconds: float, out: Path, about: Mapping[str, Any]
) -> Iterator[tuple[Part, Result]]:
    """Run ``parts`` in order, for at most ``seconds`` in all; yields each when it has ended.

    After each, ``out/results.json`` holds ``about`` and all results; ``out/output.log`` has
    everything that the parts printed.
    """
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    results: dict[str, Any] = {}
    for part in parts:
        limit = min(part.limit, end - time.monotonic())
        result = Result("no time left")
        if limit >= WORTH_STARTING:
            result = execute(part, limit, out / "output.log")
        results[part.name] = dataclasses.asdict(result)
        write(out / "results.json", {**about, "parts": results})
        yield part, result


def write(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1, default=str) + "\n")
    draft.replace(path)


def execute(part: Part, limit: float, log: Path) -> Result:
    """Run one part for at most ``limit`` seconds, and kill all processes that it leaves."""
    own = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with own as directory, log.open("ab") as output:
        figures, mark = Path(directory) / "figures.json", uuid.uuid4().hex
        before, began = os.fstat(output.fileno()).st_size, time.monotonic()
        process = _started(part, figures, mark, output)
        code: int | None = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _ask_where(process, mark)
        finally:
            seconds = time.monotonic() - began
            _end(process, mark)
        outcome: Any = "stopped at its limit" if code is None else "failed" if code else "done"
        return Result(
            outcome, round(seconds, 1), round(limit, 1), code, " ".join(part.command),
            read(figures), _tail(log, before),
        )  # fmt: skip


def _started(part: Part, figures: Path, mark: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    def named(text: str) -> str:
        return text.replace(FIGURES, str(figures))

    own = {name: named(value) for name, value in part.environment.items()}
    return subprocess.Popen(
        [named(word) for word in part.command],
        cwd=ROOT,
        env={**os.environ, **_environment(), **own, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Environment variables of all parts: import path, unbuffered output, fault handler."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _ask_where(process: subprocess.Popen[bytes], mark: str) -> None:
    """Send SIGABRT, at which Python's fault handler writes the stack of every thread.

    One process after the other, because all write to the same log.
    """
    deadline = time.monotonic() + LAST_WORDS
    for pid in sorted(members(MARK, mark), key=lambda pid: pid != process.pid):
        with suppress(OSError):  # it has ended
            ended = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGABRT)
                select.select([ended], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(ended)
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    end_all(MARK, mark)
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)


def end_all(name: str, value: str) -> None:
    """Send SIGKILL to all ``members`` until none is left or ``PATIENCE`` is over."""
    deadline = time.monotonic() + PATIENCE
    while (found := list(members(name, value))) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def members(name: str, value: str) -> Iterator[int]:
    """PIDs of processes that were started with this environment variable."""
    entry = f"{name}={value}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if entry in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def read(figures: Path) -> Any:
    """The figures that a part has written; None if there are none."""
    with suppress(OSError, ValueError):
        return json.loads(figures.read_text())
    return None


def _tail(log: Path, start: int) -> str:
    """The end of the log after ``start``, without lists of extension modules."""
    with log.open("rb") as file:
        file.seek(max(start, os.fstat(file.fileno()).st_size - 10 * TAIL))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Extension modules:"))[-TAIL:]
