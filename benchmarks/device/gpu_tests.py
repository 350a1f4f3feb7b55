"""The tests marked ``gpu``, each file in a process of its own, and what became of each test so far.

    python -m benchmarks.device.gpu_tests --json tests.json -k "not compiled"

They need torch and pytest alone.  A test that spoils the device, or never ends, spoils its file:
its figures tell which test was running.
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
"""In the text of the files with such tests."""

OPTIONS = (
    "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "pytest_timeout",
    "--noconftest",  # which imports what a bare machine may lack, and none of these tests uses
    "-W", "default",  # of other versions than ours a warning is no failure
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
        """Set-up and clean-up count where they did not pass, and a call in any case."""
        if report.when == "call" or not report.passed:
            reason = str(report.longrepr)[-2000:] if report.failed else ""
            self.found[report.nodeid] = {
                "outcome": report.outcome, "seconds": round(report.duration, 2), "reason": reason,
            }  # fmt: skip
            runner.write(self.path, self.found)


def files() -> list[Path]:
    """The test files that have any test marked ``gpu``."""
    found = sorted((runner.ROOT / "tests").glob("test_*.py"))
    return [path for path in found if MARKED.search(path.read_text())]


def _run(file: Path, options: list[str], path: Path, found: dict[str, Any]) -> None:
    code = pytest.main([*OPTIONS, *options, str(file)], plugins=[Recorder(path, found)])
    sys.stdout.flush()
    os._exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)  # threads may hang


def preload() -> None:
    """Import once, before the forks, what takes long; it does not look for a device."""
    importlib.import_module("tests.recipes")


def run(paths: list[Path], options: list[str], json: Path, limit: float) -> int:
    """How many files had failures; one that takes longer than ``limit`` seconds is ended."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # whatever else that machine has
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
