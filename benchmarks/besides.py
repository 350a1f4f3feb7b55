"""Measure alternating epochs, the gap between trials, checkpoints, and captured steps."""

import argparse
import functools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import contenders
import torch
from job import NETWORKS, SHAPE, Job, parts
from rounds import Row

from tuner.train import engine
from tuner.train.checkpoint import checkpoint
from tuner.train.model import cnn
from tuner.train.progress import Progress
from tuner.train.settings import Every


class Clock:
    """Seconds spent in functions: wall-clock time of the training, CPU time of the writer.

    The difference between runs with and without checkpoints is smaller than the noise of a shared
    machine.
    """

    def __init__(self) -> None:
        self.spent = {"held": 0.0, "writer": 0.0}
        self.patches = [
            (Progress, "save", "held", time.perf_counter),
            (checkpoint.Writer, "wait", "held", time.perf_counter),
            (checkpoint, "write", "writer", time.thread_time),
        ]

    def __enter__(self) -> "Clock":
        self.originals = [getattr(owner, name) for owner, name, _, _ in self.patches]
        for owner, name, kind, clock in self.patches:
            setattr(owner, name, self._timed(getattr(owner, name), kind, clock))
        self.inside = False
        return self

    def __exit__(self, *_: object) -> None:
        for (owner, name, _, _), original in zip(self.patches, self.originals, strict=True):
            setattr(owner, name, original)

    def _timed(self, function: Any, kind: str, clock: Any) -> Any:
        def timed(*args: Any) -> Any:
            if kind == "held" and self.inside:  # `save` waits, which is counted once
                return function(*args)
            began, self.inside = clock(), self.inside or kind == "held"
            try:
                return function(*args)
            finally:
                self.spent[kind] += clock() - began
                self.inside = self.inside and kind != "held"

        return timed


def paired(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare tuner with the bare loop in alternating epochs, so that load affects both alike.

    On a GPU, also compare with a bare loop whose step is captured, as tuner's is.
    """
    found = paired_with(job, arguments.rounds, graph=False)
    if job.device != "cpu":
        found["captured"] = paired_with(job, arguments.rounds, graph=True)
    return found


def paired_with(job: Job, rounds: int, *, graph: bool) -> dict[str, Any]:
    found = [statistics.median(contenders.paired(job, graph=graph)) for _ in range(rounds)]
    kind = "captured bare loop" if graph else "bare loop"
    print(f"  ours is {statistics.median(found):.3f} of the {kind}, scored"
          f" ({min(found):.3f} to {max(found):.3f} in {len(found)} runs)", flush=True)  # fmt: skip
    return {"runs": found, "ratio": statistics.median(found)}


def checkpoints(job: Job, arguments: argparse.Namespace) -> dict[str, Row]:
    """Measure the cost of checkpoints as fractions of the epochs' time.

    ``every epoch`` writes one after each; ``by default`` they are limited to their share of the
    time. ``held``: training waits for them. ``writer``: CPU time of the thread that writes.
    """
    found: dict[str, Row] = {}
    every_epoch = Every(epochs=1, seconds=60.0)
    for name, changes in (("every epoch", {"checkpoint_every": every_epoch}), ("by default", {})):
        rows = [checkpoint_cost(job, changes) for _ in range(arguments.rounds)]
        found[name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print("  checkpoints {}: held {held:.2%}, writer {writer:.2%}".format(name, **found[name]))
    return found


def checkpoint_cost(job: Job, changes: dict[str, Any]) -> Row:
    with Clock() as clock:
        seconds = contenders.ours(job, **changes)
    # One epoch more than is timed.
    total = statistics.median(seconds) * (job.epochs + 1)
    return {name: spent / total for name, spent in clock.spent.items()}


def gap(job: Job, arguments: argparse.Namespace) -> Row:
    """Measure the seconds from the end of one `train` to the end of the next one's first step.

    ``same`` repeats one shape; ``new`` uses shapes that the process has not seen.
    """
    found: dict[str, list[float]] = {"same": [], "new": []}
    run_one(job, 32)
    for turn in range(2 * arguments.rounds):
        found["same"].append(run_one(job, 32))
        found["new"].append(run_one(job, 33 + 2 * turn))
    medians = {name: statistics.median(values) for name, values in found.items()}
    print("  gap between trials: {same:.3f} s; of a new shape {new:.3f} s".format(**medians))
    return medians


def run_one(job: Job, width: int) -> float:
    """Train two epochs; return the seconds from the call to the first completed step."""
    began = job.now()
    first: list[float] = []

    def stepped(optimizer: Any, *_: Any) -> None:
        if not first:
            first.append(job.now() - began)

    def make(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(*args, **kwargs, lr=1e-3, fused=True)
        optimizer.register_step_post_hook(stepped)
        return optimizer

    shape = SHAPE | NETWORKS[job.network] | {"width": width}
    network = functools.partial(cnn.cnn, **shape)
    short = replace(job, epochs=1)
    changes = {"model": network, "optimizer": make}
    with tempfile.TemporaryDirectory(dir=".") as directory:
        engine.train(
            **parts(short, 1) | changes, report=lambda *_, **__: None,
            run_dir=Path(directory),
        )  # fmt: skip
    return first[0]


def ladder(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure on a GPU what a captured step saves, and after how many steps capturing pays off."""
    return climbed(job, ["eager", "graph"], arguments.rounds)


def compiled(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure on a GPU a compiled step against a captured one; ``again``: from the cache."""
    return climbed(job, ["graph", "compile", "compile again"], 1)


def climbed(job: Job, rungs: list[str], rounds: int) -> dict[str, Any]:
    """Return each way's milliseconds per step and seconds to set up, medians of rounds.

    ``repaid_after_steps``: the steps after which it makes up for its set-up, relative to the first
    way; none if it saves nothing. A CPU has only eager steps.
    """
    if job.device == "cpu":
        return {}
    contenders.ours(job, graph=rungs[0])  # loads the data, and makes what is made once a process
    rows: dict[str, list[Row]] = {rung: [] for rung in rungs}
    for _ in range(rounds):
        for rung in rungs:
            rows[rung].append(rung_cost(job, rung.split()[0]))
    found: dict[str, Any] = {}
    for rung, measured in rows.items():
        row = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        base = found.get(rungs[0], row)
        saved = (base["step_ms"] - row["step_ms"]) / 1e3
        extra = max(0.0, row["setup_s"] - base["setup_s"])
        found[rung] = row | {"repaid_after_steps": extra / saved if saved > 0 else None}
        print(f"  {rung}: {found[rung]}", flush=True)
    return found


def rung_cost(job: Job, rung: str) -> Row:
    """Return the set-up time: what a run takes beyond its epochs at their median length."""
    began = time.perf_counter()
    seconds = contenders.ours(job, graph=rung)
    setup = time.perf_counter() - began - sum(seconds) - statistics.median(seconds)
    steps = job.images // job.batch
    return {"step_ms": statistics.median(seconds) / steps * 1e3, "setup_s": setup}
