"""Measure the CPU time of commands on a small study, as multiples of ``python -c "import optuna"``.

    python -m benchmarks.startup --rounds 5

Searches the digits with twelve trials of one epoch in a temporary directory, then runs each command
in turn, ``--rounds`` times; ``tuner tune`` searches a new study with one trial of one epoch. Prints
the median CPU time of each, that of its child processes included, and its ratio to that of
importing Optuna.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TUNER = ("-m", "tuner")
SHORT = ("study.n_trials=12", "trainer.epochs=1", "launch.workers=1", "pruner=none")
COMMANDS: Mapping[str, Sequence[str]] = {
    "import optuna": ("-c", "import optuna"),
    "tuner --help": (*TUNER, "--help"),
    "tuner status": (*TUNER, "status", "digits"),
    "tuner best": (*TUNER, "best", "digits"),
    "tuner report": (*TUNER, "report", "digits"),
    "tuner check": (*TUNER, "check", *SHORT),
    "tuner tune": (*TUNER, "tune", *SHORT, "study.n_trials=1", "study.name=new{round}"),
}


def seconds(words: Sequence[str], directory: Path) -> float:
    """Return the CPU time in seconds of a Python process and of its children."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    path = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is done once, not by each command
    subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
    )
    return used() - before


def main() -> None:
    """Search, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        seconds((*TUNER, "tune", *SHORT), directory)
        found: dict[str, list[float]] = {command: [] for command in COMMANDS}
        for number in range(rounds):
            for command, words in COMMANDS.items():
                line = [word.format(round=number) for word in words]
                found[command].append(seconds(line, directory))
    medians = {command: statistics.median(times) for command, times in found.items()}
    for command, median in medians.items():
        ratio = median / medians["import optuna"]
        print(f"{command:16} {median:6.2f} s {ratio:6.1f}")


if __name__ == "__main__":
    main()
