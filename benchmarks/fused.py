"""Measure trials per hour of one device: in turn, in packed processes, fused, concurrent.

    python -m benchmarks.fused --device cuda          # all of it, about ten minutes
    python -m benchmarks.fused --device cpu --quick

Every arm trains whole trials with ``engine.train`` (data on the device, evaluation, checkpoints,
reports) on noise of the shape of the digits and of Fashion-MNIST. Arms alternate; a ratio is the
median over rounds of trials per hour relative to the same round's trials one after the other.
``abreast`` is the exception: k learners in k threads (captured, on k streams, on a GPU), without
checkpoints and reports.
"""

import argparse
import functools
import logging
import multiprocessing
import platform
import statistics
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import runner
from benchmarks.noise import noise
from tests import recipes
from tuner.train import engine
from tuner.train.data.tensors import Split
from tuner.train.device import hardware
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.optim import parameter_groups
from tuner.train.settings import Every, Settings


@dataclass(frozen=True)
class Size:
    """The shape of a data set, and a suitable network with its settings."""

    images: int
    side: int
    epochs: int
    batch_size: int
    network: dict[str, Any]
    every: int = 1
    """Epochs between checkpoints."""


SIZES = {
    "digits": Size(1080, 8, 15, 32, {"depth": 2, "convs": 1, "width": 16, "dropout": 0.1}),
    "fashion": Size(
        48_000, 28, 4, 128, {"depth": 2, "convs": 1, "width": 32, "hidden": 128, "dropout": 0.1}
    ),
}
QUICK = {"digits": 1080, "fashion": 24_000}
# On a CPU a trial of the larger kind takes minutes.
ON_CPU = {"digits": 1080, "fashion": 1_280}


def settings(size: Size, fused: int) -> Settings:
    changes = {"epochs": size.epochs, "batch_size": size.batch_size, "eval_batch_size": 1024}
    every = Every(epochs=size.every, seconds=60.0)
    return recipes.settings(**changes, checkpoint_every=every, fused=fused, fused_wait=2.0)


def parts(size: Size, images: int, number: int, fused: int = 1) -> dict[str, Any]:
    """Return trial ``number`` with its own seed, dropout, learning rate and weight decay."""
    dropout = 0.1 + 0.05 * (number % 4)
    return {
        "data": functools.partial(noise, images=images, side=size.side),
        "model": recipes.network(**size.network | {"dropout": dropout}),
        "optimizer": functools.partial(
            torch.optim.AdamW, lr=1e-3 * (1 + number % 8), weight_decay=0.01, fused=True
        ),
        "schedule": functools.partial(parameter_groups.cosine, final=0.0),
        "loss": functools.partial(CrossEntropy, **recipes.LOSS),
        "trainer": settings(size, fused),
        "metric": "accuracy",
        "seed": number,
    }


def trial(size: Size, images: int, device: str, number: int, fused: int = 1) -> None:
    with tempfile.TemporaryDirectory() as directory:
        given = parts(size, images, number, fused)
        engine.train(
            **given, report=lambda epoch, **_: None, run_dir=Path(directory), device=device
        )


# ---- the arms: each trains some trials and returns how many


def in_turn(size: Size, images: int, device: str, count: int) -> int:
    for number in range(count):
        trial(size, images, device, number)
    return count


def fused(size: Size, images: int, device: str, k: int) -> int:
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            trial(size, images, device, number, fused=k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(k)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return k


class Abreast:
    """k learners in one process, each stepped by a thread: captured, on its own stream, on a GPU.

    They need not share a shape. But dropout draws from generators that belong to the process (for
    captured steps, from one pair of tensors on the device), so that no trial is reproducible: this
    shows what tuner gives up by letting threads take turns.
    """

    def __init__(self, size: Size, images: int, device: str, k: int) -> None:
        self.device = hardware.choose(device)
        self.data = noise(self.device, images=images, side=size.side)
        self.epochs = size.epochs
        on_cuda = self.device.type == "cuda"
        self.streams = [torch.cuda.Stream(self.device) if on_cuda else None for _ in range(k)]
        hardware.configure(self.device, threads=1, deterministic=False, precision="auto")
        self.learners = [self._warm(size, images, number) for number in range(k)]

    def _warm(self, size: Size, images: int, number: int) -> Learner:
        """Return a learner whose step is chosen, and captured if possible."""
        given = parts(size, images, number)
        hardware.reseed(number, 0, self.device)
        network = given["model"](in_shape=self.data.in_shape, num_classes=10)
        learner = Learner(
            network, given["optimizer"], given["schedule"], given["loss"]([1] * 10), self.data,
            given["trainer"],
        )  # fmt: skip
        train = self.data.train
        few = 8 * size.batch_size
        with self._on(self.streams[number]):
            learner._choose(100_000)
            learner.train_epoch(Split(train.images[:few], train.labels[:few]), 1, self._order())
            learner.evaluate(self.data.validation)
        self._wait()
        return learner

    def _order(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def _on(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
        return nullcontext() if stream is None else torch.cuda.stream(stream)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def __call__(self) -> int:
        with ThreadPoolExecutor(len(self.learners)) as pool:
            list(pool.map(self._one, self.learners, self.streams))  # raises what a thread raised
        self._wait()
        return len(self.learners)

    def _one(self, learner: Learner, stream: torch.cuda.Stream | None) -> None:
        if stream is not None:
            torch.cuda.set_device(self.device)
        with self._on(stream):
            for epoch in range(2, 2 + self.epochs):
                mean = learner.train_epoch(self.data.train, epoch, self._order())
                learner.evaluate(self.data.validation).read(mean)


class Pack:
    """Processes that each train trials one after the other, all on the same device."""

    def __init__(self, device: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            context.Process(target=_member, args=(theirs, device), daemon=True).start()
            self.pipes.append(ours)

    def __call__(self, size: Size, images: int, processes: int, each: int) -> int:
        used = self.pipes[:processes]
        for pipe in used:
            pipe.send((size, images, each))
        for pipe in used:
            if error := pipe.recv():
                raise RuntimeError(error)
        return processes * each


def _member(pipe: Connection, device: str) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            size, images, each = pipe.recv()
        except EOFError:
            return
        try:
            in_turn(size, images, device, each)
            pipe.send("")
        except Exception:
            pipe.send(traceback.format_exc())


# ---- rounds


def arms(
    args: argparse.Namespace, pack: Pack | None, size: Size, images: int
) -> dict[str, Callable[[], int]]:
    """Return a function per name that trains some trials; its first call warms up."""
    few = 2 if args.quick else 4
    found: dict[str, Callable[[], int]] = {
        "in turn": functools.partial(in_turn, size, images, args.device, 2 * few)
    }
    for processes in args.processes if pack else ():
        found[f"{processes} processes"] = functools.partial(pack, size, images, processes, few)
    for k in args.fused:
        found[f"fused {k}"] = functools.partial(fused, size, images, args.device, k)
    for k in args.abreast:
        found[f"{k} abreast"] = _late(lambda k=k: Abreast(size, images, args.device, k))
    return found


def _late(make: Callable[[], Callable[[], int]]) -> Callable[[], int]:
    """Create the arm at its first call."""
    made = functools.cache(make)
    return lambda: made()()


# The CPU's is this process's own, whatever else the machine does: not for several processes.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(name: str, arm: Callable[[], int], clock: Callable[[], float]) -> float:
    """Return trials per hour, 0 if the arm fails."""
    try:
        start = clock()
        count = arm()
        return 3600 * count / (clock() - start)
    except Exception as error:
        traceback.print_exc()
        print(f"  {name}: {type(error).__name__}: {error}", flush=True)
        return 0.0


Table = dict[str, dict[str, Any]]


def compare(
    args: argparse.Namespace,
    pack: Pack | None,
    name: str,
    end: float,
    keep: Callable[[Table], None],
) -> Table:
    """Run rounds of all arms until ``end``; ``keep`` gets the table so far after each arm."""
    size = replace(SIZES[name], every=args.every)
    images = ON_CPU[name] if args.device == "cpu" else QUICK[name] if args.quick else size.images
    contenders = arms(args, pack, size, images)
    print(
        f"{name}: {images} images, {size.epochs} epochs, batches of {size.batch_size},"
        f" a checkpoint every {size.every} epochs",
        flush=True,
    )
    rates: dict[str, list[float]] = {arm: [] for arm in contenders}
    for round_ in range(args.rounds + 1):
        for arm, contender in list(contenders.items()):
            if time.monotonic() > end:
                return tabulated(rates)
            rate = measure(arm, contender, CLOCKS[args.clock])
            if round_:  # the first one warms up
                rates[arm].append(rate)
                print(f"  {arm:13} {rate:9.0f} trials an hour", flush=True)
                keep(tabulated(rates))
            if not rate:
                del contenders[arm]
    return tabulated(rates)


def tabulated(rates: dict[str, list[float]]) -> Table:
    """Return the arms that were measured in a round with trials in turn."""
    table = {}
    for arm, found in rates.items():
        pairs = zip(found, rates["in turn"], strict=False)
        ratios = [rate / base for rate, base in pairs if base]
        if ratios:
            table[arm] = {
                "trials_an_hour": statistics.median(found),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }
    return table


def show(name: str, table: Table) -> None:
    for arm, row in table.items():
        spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
        print(
            f"{name:8} {arm:13} {row['trials_an_hour']:9.0f} an hour"
            f" {row['ratio']:6.2f} times ({spread})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="smaller data, one round")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--processes", nargs="*", type=int, default=[2, 4, 8])
    parser.add_argument("--fused", nargs="*", type=int, default=[2, 4, 8, 16, 32])
    parser.add_argument("--abreast", nargs="*", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--every", type=int, default=1, help="epochs between checkpoints")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=540, help="stop after so long")
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    end = time.monotonic() + args.seconds

    logging.basicConfig(level=logging.INFO, format="  %(message)s")
    torch.set_num_threads(1)
    on_cuda = torch.device(args.device).type == "cuda"
    machine = torch.cuda.get_device_name() if on_cuda else platform.processor() or "CPU"
    print(f"{machine}, torch {torch.__version__}", flush=True)
    pack = Pack(args.device, max(args.processes)) if args.processes else None
    tables: dict[str, Table] = {}

    def keep(name: str, table: Table) -> None:
        tables[name] = table
        if args.json:
            runner.write(args.json, {"machine": machine, "tables": tables})

    for number, name in enumerate(args.sizes):
        share = (end - time.monotonic()) / (len(args.sizes) - number)
        until = time.monotonic() + share
        show(name, compare(args, pack, name, until, functools.partial(keep, name)))


if __name__ == "__main__":
    main()
