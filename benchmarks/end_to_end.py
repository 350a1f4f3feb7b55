"""Measure the wall-clock time to a validation accuracy: tuner, Optuna's plain loop, Ray Tune.

python -m benchmarks.end_to_end --data DIR --minutes 3 --seeds 3 # 3 searches per seed

Each tunes the same network over the same space with the same training function (``tuning.py``), on
two workers, started as usual. The clock runs from the start of the command, which is stopped after
the given minutes. DIR holds the files of Fashion-MNIST. Ray Tune needs ``ray[tune]``.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import tuning
from benchmarks.tuning import Run

ROOT = Path(__file__).parent.parent
ALONE = [sys.executable, "-m", "benchmarks.tuning"]
SEARCHES: dict[str, Callable[[Run], list[str]]] = {
    "tuner": tuning.ours,
    "Optuna": lambda task: [*ALONE, "plain", *task.argv()],
    "Ray Tune": lambda task: [*ALONE, "ray", *task.argv()],
}
THRESHOLDS = (0.80, 0.82, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89, 0.90)
GRACE = 30.0
"""Seconds that a search may take to exit after SIGTERM."""

Marks = list[tuple[float, float]]
"""Pairs of seconds since the start of the command and validation accuracy, one per report."""


def search(name: str, task: Run, seconds: float) -> Marks:
    """Run one search for a number of seconds and return what it reported."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "PYTHONPATH": str(ROOT),
    }
    log = (task.directory / "log").open("w")
    began = time.time()
    process = subprocess.Popen(
        SEARCHES[name](task), cwd=task.directory, env=environment, start_new_session=True,
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        _stop(process)
    else:
        raise SystemExit(f"{name} ended by itself, with {process.returncode}:\n{_tail(task)}")
    finally:
        log.close()
    if not (marks := read(task.marks, began, seconds)):
        raise SystemExit(f"{name} reported nothing in {seconds:.0f} s:\n{_tail(task)}")
    return marks


def _tail(task: Run) -> str:
    return (task.directory / "log").read_text()[-2000:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the process and all its children, and SIGKILL to those that remain."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(path: Path, began: float, seconds: float) -> Marks:
    """Return the marks that were made in time, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    marks = [(float(at) - began, float(value)) for at, value in map(str.split, lines)]
    return sorted(mark for mark in marks if mark[0] <= seconds)


def reached(marks: Marks, accuracy: float) -> float:
    """Return the seconds until ``accuracy`` was first reported; infinite if never."""
    return min((at for at, value in marks if value >= accuracy), default=math.inf)


def ratios(ours: Sequence[Marks], other: Sequence[Marks], accuracy: float) -> list[float]:
    """Return the other's time relative to tuner's per seed, if one of them reached it."""
    pairs = [(reached(a, accuracy), reached(b, accuracy)) for a, b in zip(ours, other, strict=True)]
    return [b / a if math.isfinite(a) else 0.0 for a, b in pairs if math.isfinite(min(a, b))]


def table(found: Mapping[str, Sequence[Marks]]) -> list[str]:
    """Return a Markdown table of median seconds to each accuracy, with ratios in brackets."""
    lines = [f"| validation accuracy | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for accuracy in THRESHOLDS:
        if all(math.isinf(reached(m, accuracy)) for runs in found.values() for m in runs):
            break
        cells = [_cell(found, name, accuracy) for name in found]
        lines.append(f"| {accuracy:.2f} | {' | '.join(cells)} |")
    best = [statistics.mean(max((v for _, v in m), default=0.0) for m in r) for r in found.values()]
    lines.append(f"| best, mean of seeds | {' | '.join(f'{value:.4f}' for value in best)} |")
    counts = [statistics.mean(len(m) for m in runs) for runs in found.values()]
    return [*lines, f"| epochs | {' | '.join(f'{count:.0f}' for count in counts)} |"]


def _cell(found: Mapping[str, Sequence[Marks]], name: str, accuracy: float) -> str:
    first = next(iter(found))
    seconds = statistics.median(reached(marks, accuracy) for marks in found[name])
    text = f"{seconds:.0f} s" if math.isfinite(seconds) else "not reached"
    if name == first or not (each := ratios(found[first], found[name], accuracy)):
        return text
    ratio = statistics.median(each)
    return f"{text} ({ratio:.1f})" if 0 < ratio < math.inf else text


def plot(found: Mapping[str, Sequence[Marks]], path: Path) -> None:
    """Plot the lowest error so far against seconds on logarithmic axes, one line per seed."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    colours = dict(zip(SEARCHES, ("black", "tab:blue", "tab:orange"), strict=True))
    for name, runs in found.items():
        for k, marks in enumerate(runs):
            least = [1 - max(v for _, v in marks[: i + 1]) for i in range(len(marks))]
            label = name if k == 0 else None
            axes.step(
                [at for at, _ in marks], least, where="post", color=colours[name], label=label
            )
    axes.set(xscale="log", yscale="log", xlabel="seconds since the command was given")
    axes.set_ylabel("least validation error")
    axes.set_xticks([10, 20, 30, 60, 120, 180])
    axes.xaxis.set_minor_formatter("")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend()
    axes.grid(which="both", alpha=0.2)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of Fashion-MNIST")
    parser.add_argument("--limit", type=int, default=10_000, help="images, a tenth to be scored on")
    parser.add_argument("--epochs", type=int, default=9, help="of a full training")
    parser.add_argument("--minutes", type=float, default=3.0, help="a search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--json", type=Path, help="where the marks are kept")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    if "Ray Tune" in asked.only and importlib.util.find_spec("pyarrow") is None:
        raise SystemExit("Ray Tune is not installed; hint: pip install 'ray[tune]', or --only …")
    if asked.plot and importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("matplotlib is not installed; hint: pip install matplotlib, or no --plot")
    found: dict[str, list[Marks]] = {name: [] for name in asked.only}
    for seed in range(asked.seeds):
        for name in [*asked.only[seed % len(asked.only) :], *asked.only[: seed % len(asked.only)]]:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
                task = Run(asked.data.resolve(), asked.limit, asked.epochs, seed, Path(directory))
                found[name].append(search(name, task, 60 * asked.minutes))
        done = {name: runs for name, runs in found.items() if len(runs) == seed + 1}
        print("\n".join([f"{seed + 1} of {asked.seeds} seeds", *table(done), ""]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found))
    if asked.plot:
        plot(found, asked.plot)


if __name__ == "__main__":
    main()
