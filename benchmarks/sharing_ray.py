"""Measure how two studies share a real Ray cluster of four CPUs, with ``worker.turn``.

    python -m benchmarks.sharing_ray                 # seven minutes on a quiet machine
    python -m benchmarks.sharing_ray --minutes 2

Each study asks for four workers of one CPU, and has more configurations than there is time for. The
second one is started once the first has all four CPUs. Epochs are those of ``benchmarks.sharing``.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.sharing import Project, end
from tests import clusters, servers
from tests.launched import new_database

STUDIES = ("one", "two")
BIN = 10
"""Seconds of a count; two of four places run twice as many epochs in it."""
PLACES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="with both studies")
    parser.add_argument("--turn", type=float, default=0.5, help="minutes, as worker.turn")
    args = parser.parse_args()
    with (
        servers.postgresql() as server,
        clusters.ray() as cluster,
        tempfile.TemporaryDirectory() as directory,
    ):
        launch = (
            "launch=ray", f"launch.address={cluster.address}", "launch.workers=4",
            f"worker.turn={args.turn:g}",
        )  # fmt: skip
        project = Project(Path(directory), new_database(server), {}, launch)
        running = [project.tune("one")]
        while len({run for _, run, *_ in project.epochs()}) < PLACES:
            time.sleep(1)
        asked = time.time()
        running.append(project.tune("two"))
        time.sleep(60 * args.minutes)
        over = time.time()
        end(running)
        _tell(project, asked, over, 60 * args.turn)


def _tell(project: Project, asked: float, over: float, turn: float) -> None:
    """Print the epochs of both studies from the second one's command on."""
    lines = [(name, at - asked) for name, *_, at in project.epochs() if asked < at < over]
    counts = Counter((name, int(at) // BIN) for name, at in lines)
    bins = range(int(over - asked) // BIN)
    for name in STUDIES:
        print(f"{name}, in {BIN} s each:", *(counts[name, k] for k in bins))
    first = min((at for name, at in lines if name == "two"), default=float("nan"))
    half = next((k for k in bins if counts["two", k] >= 0.9 * BIN * PLACES / 2), None)
    told = "never" if half is None else f"{BIN * half} to {BIN * (half + 1)} s after its command"
    print(f"two: first epoch {first:.0f} s after its command, half of the places {told}")
    print(f"a turn ends after {turn:g} to {1.5 * turn:g} s")
    later = Counter(name for name, at in lines if at > 3 * turn)
    share = later["two"] / max(1, later.total())
    print(f"two, after two turns ({3 * turn:g} s): {share:.0%} of {later.total()} epochs")
    project.tell_faults(STUDIES)


if __name__ == "__main__":
    main()
