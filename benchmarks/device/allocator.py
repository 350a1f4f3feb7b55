"""Compares the CUDA allocator with and without expandable segments, over many shapes.

    python -m benchmarks.device.allocator --device cuda --json allocator.json

The networks of a search differ in every size, so the memory blocks that one trial freed rarely fit
the next.  Memory that is reserved but not allocated is lost to other workers.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import fused
from benchmarks.device import runner
from tests import recipes
from tuner.train import engine

ARMS = {"default": "", "expandable": "expandable_segments:True"}
"""Values of PYTORCH_ALLOC_CONF."""


def train(device: str, trials: int, images: int) -> dict[str, float]:
    """Trials an hour and megabytes reserved, over ``trials`` shapes after a first one."""
    draw, size = random.Random(0), fused.SIZES["fashion"]
    on_cuda = torch.device(device).type == "cuda"
    began, reserved = 0.0, 0
    for number in range(trials + 1):
        widths = {"depth": draw.randint(2, 3), "convs": draw.randint(1, 2)}
        shape = widths | {"width": draw.randint(16, 96), "hidden": draw.choice([0, 64, 128])}
        settings = {"epochs": 1, "batch_size": draw.choice([64, 128, 256])}
        one_trial(device, size, images, number, shape, settings)
        if on_cuda:  # each trial resets its peak
            reserved = max(reserved, torch.cuda.max_memory_reserved(device))
        if number == 0:  # includes what happens once per process
            began = time.perf_counter()
    rate = 3600 * trials / (time.perf_counter() - began)
    return {"trials_an_hour": rate, "reserved_mb": reserved / 1e6}


def one_trial(
    device: str, size: fused.Size, images: int, number: int,
    shape: dict[str, Any], settings: dict[str, Any],
) -> None:  # fmt: skip
    given = fused.parts(size, images, number)
    changes = {"model": recipes.network(**shape), "trainer": recipes.settings(**settings)}
    with tempfile.TemporaryDirectory() as directory:
        engine.train(
            **given | changes, report=lambda *_, **__: None, run_dir=Path(directory), device=device
        )


def compare(asked: argparse.Namespace) -> None:
    """Run processes of both arms in turn, and write the medians after each round."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for _ in range(asked.rounds):
        for name, value in ARMS.items():
            rows[name].append(_child(asked, value))
            print(f"  {name}: {rows[name][-1]}", flush=True)
        keys = rows["default"][0]
        medians = {
            name: {key: statistics.median(row[key] for row in found) for key in keys}
            for name, found in rows.items()
        }
        runner.write(asked.json, {"rounds": rows, "medians": medians})


def _child(asked: argparse.Namespace, value: str) -> dict[str, float]:
    environment = {**os.environ, "PYTORCH_ALLOC_CONF": value}
    if not value:
        del environment["PYTORCH_ALLOC_CONF"]
    sizes = ["--trials", str(asked.trials), "--images", str(asked.images)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.device.allocator", "--child",
         "--device", asked.device, *sizes],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--images", type=int, default=6_400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        torch.set_num_threads(1)
        return print(json.dumps(train(asked.device, asked.trials, asked.images)))
    compare(asked)


if __name__ == "__main__":
    main()
