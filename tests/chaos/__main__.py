"""The long form: ``python -m tests.chaos --seconds 240 --seed 7 --backend postgresql``."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.backends import BACKENDS, sqlite
from tests.chaos.storm import HALVING, Size, Storm, lay_out, overrides
from tests.chaos.verdict import judge, trials_of


def calm(size: Size) -> list:
    """Return the trials of an undisturbed study on a separate database."""
    with tempfile.TemporaryDirectory() as directory, sqlite() as backend:
        lay_out(Path(directory))
        args = [*overrides(backend.url, size), "objective.seconds=0.0"]
        subprocess.run(
            [sys.executable, "-m", "tuner", "worker", *args],
            cwd=directory, check=True, capture_output=True,
        )  # fmt: skip
        return trials_of(backend.url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="of disturbance, each backend")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--backend", choices=BACKENDS, nargs="*", default=list(BACKENDS))
    parser.add_argument(
        "--pruned", action="store_true", help="with a pruner, and two trials at once a process"
    )
    parser.add_argument(
        "--turns", action="store_true", help="with turns of six to nine seconds; not on SQLite"
    )
    parser.add_argument("--keep", type=Path, help="a directory for what the workers leave")
    args = parser.parse_args()
    # Those that are pruned, two at a time, are over twice as soon.
    size = Size(args.seconds, n_trials=10 + int(args.seconds * (1 if args.pruned else 0.5)))
    wanted = calm(size)
    if args.pruned:
        size = replace(size, pruner=HALVING, concurrency=2)
    if args.turns:
        size = replace(size, turn=0.1)
    for name in args.backend:
        if args.turns and name == "sqlite":
            continue
        print(f"{name}: seed {args.seed}", flush=True)
        with tempfile.TemporaryDirectory() as directory, BACKENDS[name]() as backend:
            storm = Storm(args.keep or Path(directory), backend, size, args.seed)
            began = time.monotonic()
            storm.run()
            print(f"{name}: {judge(storm, wanted)}; {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
