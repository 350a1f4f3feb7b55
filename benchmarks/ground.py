"""Measure the main job: response time, time to the first epoch, total time, and scores.

python benchmarks/ground.py # about two minutes; works in a temporary directory
"""

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TUNER = Path(sys.executable).with_name("tuner")


def seconds_of(command: list[str], directory: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - started


def first_epoch(directory: Path) -> float:
    """Return the seconds from ``tuner tune`` to the first reported epoch in the database."""
    started = time.perf_counter()
    tune = subprocess.Popen(
        [TUNER, "tune", "study.n_trials=2"],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    database = directory / "runs" / "tuner.db"
    while not reported(database):
        time.sleep(0.02)
    elapsed = time.perf_counter() - started
    tune.wait()
    return elapsed


def reported(database: Path) -> bool:
    if not database.exists():
        return False
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    try:
        return bool(connection.execute("select 1 from trial_intermediate_values").fetchone())
    except sqlite3.OperationalError:
        return False  # the tables are not there yet
    finally:
        connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        helps = [seconds_of([str(TUNER), "--help"], root) for _ in range(9)]
        for name in ("a", "b"):
            (root / name).mkdir()
        to_first = first_epoch(root / "a")
        whole = sum(seconds_of([str(TUNER), command], root / "b") for command in ("tune", "final"))
        read = {
            command: json.loads(
                subprocess.check_output([TUNER, command, "--json"], cwd=root / "b", text=True)
            )
            for command in ("best", "status")
        }
        final = json.loads((root / "b" / "runs/digits/final/final.json").read_text())
    print(f"tuner --help                     {statistics.median(helps):.2f} s (median of 9)")
    print(f"tuner tune to the first epoch    {to_first:.1f} s")
    print(f"tuner tune + tuner final         {whole:.0f} s")
    print(f"best validation accuracy         {read['best']['value']:.4f}")
    print(f"test accuracy over 3 seeds       {final['mean']:.4f} ± {final['sd']:.4f}")
    print(f"share of epochs pruning saved    {read['status']['epochs_saved_fraction']:.2f}")


if __name__ == "__main__":
    main()
