"""Runs the tests marked ``gpu``, each file in its own process, and records every outcome at once.

    python -m benchmarks.device.gpu_tests --json tests.json -k "not compiled"

They need only torch and pytest.  A test that breaks the device or hangs loses the rest of its
file; the outcomes show which test was running.
"""

import argparse
import importlib
import multiprocessing
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import runner

MARKED = re.compile(r"\bmark\.gpu\b|\bfrom tests\.gpu import\b")
"""Matches the text of files that have such tests."""

OPTIONS = (
    "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "pytest_timeout",
    "--noconftest",  # it imports packages that the machine may lack; these tests do not use it
    "-W", "default",  # other versions may warn
    "--timeout", "60",
)  # fmt: skip


class Recorder:
    """A pytest plugin that keeps every outcome in a JSON file as soon as it is known."""

    def __init__(self, path: Path, found: dict[str, Any]) -> None:
        self.path, self.found = path, found

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.found[nodeid] = {"outcome": "running"}
        runner.write(self.path, self.found)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the call phase always, set-up and teardown if they did not pass."""
        if report.when == "call" or not report.passed:
            reason = str(report.longrepr)[-2000:] if report.failed else ""
            self.found[report.nodeid] = {
                "outcome": report.outcome, "seconds": round(report.duration, 2), "reason": reason,
            }  # fmt: skip
            runner.write(self.path, self.found)


def files() -> list[Path]:
    """The test files that have any test marked ``gpu``."""
    found = sorted((runner.ROOT / "tests").rglob("test_*.py"))
    return [path for path in found if MARKED.search(path.read_text())]


def _run(file: Path, options: list[str], path: Path, found: dict[str, Any]) -> None:
    code = pytest.main([*OPTIONS, *options, str(file)], plugins=[Recorder(path, found)])
    sys.stdout.flush()
    os._exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)  # threads may hang


def preload() -> None:
    """Import slow modules once, before forking; this does not initialise CUDA."""
    importlib.import_module("tests.recipes")


def run(paths: list[Path], options: list[str], json: Path, limit: float) -> int:
    """Number of files with failures; a file that takes over ``limit`` seconds is killed."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins of that machine
    preload()
    context, found, failures = multiprocessing.get_context("fork"), {}, 0
    for file in paths:
        process = context.Process(target=_run, args=(file, options, json, found))
        process.start()
        process.join(limit)
        process.kill()
        process.join()
        failures += process.exitcode != 0
        found = runner.read(json) or found
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", help="only the tests that match, as pytest has it")
    parser.add_argument("--limit", type=float, default=100, help="seconds of each file")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    options = ["-k", asked.k] if asked.k else []
    raise SystemExit(min(run(files(), options, asked.json, asked.limit), 1))


if __name__ == "__main__":
    main()
