"""What a user has written: an objective, its configuration, and how commands are called."""

OBJECTIVE = '''
"""An objective of a user's: nothing of tuner's in it but `report`.

With fate=wait it waits before its third epoch until somebody makes a file.
"""
import json
import os
import time
from pathlib import Path


def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *,
          run_dir: Path, report) -> float:
    saved = run_dir / "checkpoint.json"
    done = json.loads(saved.read_text()) if saved.exists() else 0
    value = 1.0 - (x - 0.3) ** 2
    if done:  # the process may have died between the checkpoint and its report
        report(done, accuracy=value * done / epochs, loss=1.0)
    for epoch in range(done + 1, epochs + 1):
        while fate == "wait" and epoch == 3 and not Path("go").exists():
            (run_dir / "held").touch()
            time.sleep(0.02)
            if hasattr(report, "poll"):
                report.poll()
        time.sleep(seconds)
        with open("journal.txt", "a") as journal:
            journal.write(f"{run_dir.name} {epoch} {os.getpid()}\\n")
        saved.with_suffix(".tmp").write_text(str(epoch))
        saved.with_suffix(".tmp").rename(saved)
        if fate == "die" and epoch == 3 and done < 3:
            os.kill(os.getpid(), 9)
        if fate == "raise":
            raise ValueError("a mistake in the objective")
        if fate == "memory":
            raise MemoryError("too large")
        reached = float("nan") if fate == "diverge" else value * epoch / epochs
        report(epoch, accuracy=reached, loss=1.0)
    if hasattr(report, "note"):
        report.note(kind=kind)
    return value
'''

CONF = {
    "objective/toy.yaml": (
        "_target_: toy.train\nx: 0.5\nkind: a\nepochs: 4\nseconds: 0.0\nfate: none\n"
    ),
    "space/toy.yaml": "objective.x: interval(0, 1)\nobjective.kind: choice(a, b)\n",
}

DEFAULTS = (
    "--config-dir=conf",
    "objective=toy",
    "space=toy",
    "pruner=none",
    "sampler=random",
    "worker.heartbeat=0.2",
    "worker.grace=60",
)
