"""Compare the trainer with the bare loop, the plain PyTorch loop and Lightning, alternating.

    python benchmarks/trainer.py                       # Fashion-MNIST and digits on the CPU
    python benchmarks/trainer.py --device cuda --precision bf16
    python benchmarks/trainer.py --quick               # a minute, to see that it works

In every round each of them trains the same network. A ratio is the median over rounds of the ratios
within a round, so that changing load affects all alike. Results are printed and added to the JSON
file, with the machine and the versions.
"""

import argparse
import functools
import gc
import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import contenders
import torch
from besides import checkpoints, compiled, gap, ladder, paired
from job import NETWORKS, NOISE, Job
from rounds import Row, machine, rate, ratios, rotated, show

from tuner.train.device import hardware


def main() -> None:
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.child:
        return child(arguments)
    results: dict[str, Any] = {"machine": machine(arguments.device), "options": vars(arguments)}
    failures = 0
    for name in arguments.data:
        job = make_job(arguments, name)
        found = results[name] = {}
        for part, measure in {"job": set_up, **{n: PARTS[n] for n in arguments.parts}}.items():
            began = time.perf_counter()
            try:
                found[part] = measure(job, arguments)
            except Exception as error:  # the other parts are worth having
                logging.exception("%s of %s failed", part, name)
                found[part] = {"error": f"{type(error).__name__}: {error}"}
                failures += 1
            print(f"  [{part}: {time.perf_counter() - began:.0f} s]", flush=True)
            arguments.json.write_text(json.dumps(results, indent=1, default=str) + "\n")
    raise SystemExit(min(failures, 1))


def set_up(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Configure this process for the job, log it, and load its images."""
    hardware.configure(job.place, threads=1, deterministic=False, precision=job.precision)
    print(f"\n{job.dataset}: {job.images} images an epoch, batch {job.batch}, {job.network},"
          f" {job.device}, {job.precision}")  # fmt: skip
    return asdict(job) | {"images": job.images}


def alone(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one process with one thread each: images per second, and ratios to tuner."""
    if not has_lightning():
        print("  Lightning is not installed: left out")
    rounds = [alone_round(job, turn, arguments) for turn in turns(arguments)]
    show(rounds, job)
    return {"rounds": rounds, "ratios": ratios(rounds)}


def turns(arguments: argparse.Namespace) -> Iterator[int]:
    """Yield the rounds until the time is up."""
    end = time.monotonic() + arguments.seconds
    for turn in range(arguments.rounds):
        if turn and time.monotonic() > end:
            print(f"  {turn} of {arguments.rounds} rounds")
            return
        yield turn


def note(turn: int, row: Row) -> None:
    """Report images per second at once, because a long run may not finish."""
    found = ", ".join(f"{name} {value:,.0f}" for name, value in row.items())
    print(f"  round {turn + 1}: {found}", flush=True)


def alone_round(job: Job, turn: int, arguments: argparse.Namespace) -> Row:
    runs: dict[str, Callable[[], Row]] = {
        "bare": lambda: bare_rates(job, ""),
        "ours": lambda: {"ours": rate(job, contenders.ours(job))},
    }
    if job.device != "cpu":
        runs["graph"] = lambda: bare_rates(job, "graph ")
    for kind in ("classic", "tuned"):
        runs[kind] = lambda kind=kind: {kind: max(classic_rates(job, kind, arguments))}
    for kind in ("lightning", "barest") if has_lightning() else ():
        runs[kind] = lambda kind=kind: {kind: together(job, [kind], arguments)}
    row: Row = {}
    for name in rotated(list(runs), turn):
        torch.set_num_threads(1)
        found = runs[name]()
        note(turn, found)
        row |= found
        gc.collect()
    return row


def bare_rates(job: Job, kind: str) -> Row:
    training, scoring = contenders.bare(job, graph=bool(kind))
    both = [a + b for a, b in zip(training, scoring, strict=True)]
    return {f"bare {kind}scored": rate(job, both), f"bare {kind}only": rate(job, training)}


def classic_rates(job: Job, kind: str, arguments: argparse.Namespace) -> Iterable[float]:
    """Measure with fewer and more data workers, in processes without tuner's settings."""
    cores = len(os.sched_getaffinity(0))
    by_cpu_time = job.clock == "cpu"  # which that of workers is no part of
    counts = (0,) if by_cpu_time else (0, 1) if job.device == "cpu" else (cores // 2, cores - 1)
    for workers in counts:
        yield together(job, [f"{kind}:1:{workers}"], arguments)


def pair(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare two of tuner's processes on two cores with the best form of the plain loop."""
    forms = {"ours 2 x 1": ["ours"] * 2}
    for kind in ("classic", "tuned"):
        for processes, threads, workers in LAYOUTS:
            name = f"{kind} {processes} x {threads}, {workers} workers"
            forms[name] = [f"{kind}:{threads}:{workers}"] * processes
    if job.device != "cpu" or job.dataset == "digits":
        return {}
    rounds = []
    for turn in turns(arguments):
        row = {name: together(job, forms[name], arguments) for name in rotated(list(forms), turn)}
        best = {
            kind: max(value for name, value in row.items() if name.startswith(kind))
            for kind in ("classic", "tuned")
        }
        rounds.append({"ours": row["ours 2 x 1"]} | best | row)
        note(turn, rounds[-1])
    show(rounds, job)
    return {"rounds": rounds, "ratios": ratios(rounds)}


def together(job: Job, kinds: list[str], arguments: argparse.Namespace) -> float:
    """Return images per second of processes that train at the same time."""
    family = "ours" if kinds[0] == "ours" else "others"
    children = [
        helper(job.dataset, family, number, arguments.quick) for number in range(len(kinds))
    ]
    for each, kind in zip(children, kinds, strict=True):
        assert each.stdin is not None
        each.stdin.write(kind + "\n")
        each.stdin.flush()
    return sum(float(each.stdout.readline()) for each in children if each.stdout is not None)


@functools.cache
def helper(dataset: str, family: str, number: int, quick: bool) -> subprocess.Popen[str]:
    """Start a process that trains on request, without tuner's process settings for others."""
    options = [item for item in sys.argv[1:] if item != "--quick"] + ["--quick"] * quick
    started = subprocess.Popen(
        [sys.executable, __file__, *options, "--data", dataset, "--child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    assert started.stdout is not None
    started.stdout.readline()  # has loaded what it needs
    return started


def child(arguments: argparse.Namespace) -> None:
    """Serve requests until the input ends."""
    logging.disable()
    job = make_job(arguments, arguments.data[0])
    torch.set_num_threads(1)
    job.source(job.place)
    print("ready", flush=True)
    for line in sys.stdin:
        print(child_rate(job, *line.strip().split(":")), flush=True)
        gc.collect()


def child_rate(job: Job, kind: str, *numbers: str) -> float:
    if numbers and job.device != "cpu":
        # A part of the images will do for its rate, and saves minutes of a GPU's time.
        job = replace(job, limit=min(job.limit or 20_000, 20_000), epochs=2)
    if kind == "ours":
        return rate(job, contenders.ours(job))
    torch.set_num_threads(1)
    if not numbers:
        return rate(job, contenders.lightning(job, barest=kind == "barest"))
    threads, workers = map(int, numbers)
    tuned = kind == "tuned"
    return rate(job, contenders.usual(job, threads=threads, workers=workers, tuned=tuned))


# Processes, threads of each, and data workers of each.
LAYOUTS = ((2, 1, 0), (2, 1, 1), (1, 1, 1), (1, 2, 0), (1, 2, 1), (1, 2, 2))
PARTS = {
    "alone": alone,
    "paired": paired,
    "ladder": ladder,
    "gap": gap,
    "checkpoints": checkpoints,
    "pair": pair,
    "compile": compiled,
}


def has_lightning() -> bool:
    return any(importlib.util.find_spec(name) for name in ("lightning", "pytorch_lightning"))


def make_job(arguments: argparse.Namespace, name: str) -> Job:
    cpu, digits = arguments.device == "cpu", name == "digits"
    limit = 7_112 if cpu and not digits else None
    if arguments.quick:
        limit = 400 if digits else 1_424
    job = Job(
        dataset=name, root=arguments.root, network=arguments.network, device=arguments.device,
        batch=32 if digits else arguments.batch,
        epochs=arguments.epochs or (30 if digits else 3),
        limit=arguments.limit or limit, precision=arguments.precision, clock=arguments.clock,
    )  # fmt: skip
    return replace(job, epochs=2) if arguments.quick else job


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--data", nargs="+", default=["fashion", "digits"], choices=["fashion", "digits", *NOISE]
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--root", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--network", default="small", choices=NETWORKS)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, help="timed epochs a round")
    parser.add_argument("--limit", type=int, help="images for training and validation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3600, help="begin no round after so long")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("trainer.json"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    found = parser.parse_args()
    found.rounds = 1 if found.quick else found.rounds
    return found


if __name__ == "__main__":
    main()
