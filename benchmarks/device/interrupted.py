"""Kills and resumes a ``tuner tune`` with two workers on one device.

    python -m benchmarks.device.interrupted --device cuda --json interrupted.json

All processes of the search get SIGKILL at once, as when a machine is lost.  The same command must
then resume the running trials from their checkpoints and reach the exact number of configurations.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from benchmarks.device import runner
from tuner.study.attempts import HISTORY

MARK = "TUNER_BENCHMARK_SEARCH"
STUDY = "device"
WORKERS = 2

Condition = Callable[[dict[str, Any]], bool]
"""On the output of ``tuner status --json``."""


class Search:
    """One study in a directory of its own, and the commands that work on it."""

    def __init__(self, directory: Path, device: str, options: list[str]) -> None:
        self.directory, self.device = directory, device
        self.url = f"sqlite:///{directory}/study.db"
        self.options = [f"study.name={STUDY}", f"storage.url={self.url}", *options]
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, MARK: self.mark, "NO_COLOR": "1"}
        if not device.startswith("cuda"):
            self.environment["CUDA_VISIBLE_DEVICES"] = ""

    def start(self, command: str, *more: str, **how: Any) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "tuner", command, *more, *self.options]
        return subprocess.Popen(
            line, cwd=self.directory, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, **how,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """The output of ``tuner status --json``; empty if there is no study yet."""
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        out, _ = self.start("status", "--json", **quiet).communicate(timeout=60)
        return json.loads(out) if out.strip() else {}

    def wait(self, tune: subprocess.Popen[str], condition: Condition) -> None:
        """Wait until ``condition`` holds for the status.

        Raises: RuntimeError if the command ends first.
        """
        while not condition(self.status()):
            if tune.poll() is not None:
                raise RuntimeError(f"tuner tune ended with {tune.returncode} before it was killed")

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials, read by stock Optuna."""
        study = optuna.load_study(study_name=STUDY, storage=self.url)
        return study.get_trials(deepcopy=False)


def in_the_midst(status: dict[str, Any]) -> bool:
    """Whether a configuration is complete and every worker is running another one."""
    at_work = [worker for worker in status.get("workers", ()) if worker["trial"] is not None]
    return len(at_work) == WORKERS and status["counts"].get("complete", 0) > 0


def measure(search: Search, n_trials: int, keep: Callable[[dict[str, Any]], None]) -> None:
    """Search, kill, resume and check; ``keep`` gets the figures after each step.

    Raises: AssertionError if the study differs from one without the kill.
    """
    began, found = time.perf_counter(), {}
    first = search.start("tune")
    search.wait(first, lambda status: bool(status.get("epochs")))
    found["first_epoch_s"] = time.perf_counter() - began
    keep(found)
    search.wait(first, in_the_midst)
    runner.end_all(MARK, search.mark)
    first.wait(10)
    saved = len(list(search.directory.glob("runs/trials/*/checkpoint.pt")))
    found |= {"killed_after_s": time.perf_counter() - began, "checkpoints_at_the_kill": saved}
    keep(found)
    again = time.perf_counter()
    code = search.start("tune").wait()
    found |= {"resumed_s": time.perf_counter() - again, "exit_code": code}
    found |= judged(search.trials())
    keep(found)
    assert code == 0, f"the second tuner tune ended with {code}"
    assert found["complete"] == n_trials, f"{found['complete']} of {n_trials} configurations"
    assert found["resumed_trials"] > 0, "no configuration went on after the kill"
    wanted = search.device.partition(":")[0]
    assert all(name.startswith(wanted) for name in found["devices"]), f"asked for {wanted}"


def judged(trials: list[optuna.trial.FrozenTrial]) -> dict[str, Any]:
    """Counts, devices, workers and durations of a finished study."""
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    facts = [t.user_attrs.get("facts", {}) for t in complete]
    seconds = [t.duration.total_seconds() for t in complete if t.duration]
    return {
        "complete": len(complete),
        "resumed_trials": sum(HISTORY in t.system_attrs for t in complete),
        "devices": sorted({str(fact.get("device")) for fact in facts}),
        "workers": len({t.user_attrs.get("worker") for t in trials}),
        "peak_memory_mb": max((fact.get("peak_memory_mb", 0) for fact in facts), default=0),
        "seconds_a_trial": sorted(round(s, 2) for s in seconds),
        "best": max((t.value for t in complete if t.value is not None), default=None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    options = [
        f"study.n_trials={asked.trials}", f"trainer.epochs={asked.epochs}", "pruner=none",
        f"launch.workers={WORKERS}", "worker.heartbeat=0.5", "worker.grace=5",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        search = Search(Path(directory), asked.device, options)
        try:
            measure(search, asked.trials, lambda found: runner.write(asked.json, found))
        finally:
            runner.end_all(MARK, search.mark)
            for log in sorted(Path(directory).rglob("worker-*.log")):
                print(f"--- {log.name}\n{log.read_text()[-1500:]}")


if __name__ == "__main__":
    main()
