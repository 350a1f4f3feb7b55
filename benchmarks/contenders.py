"""Four ways to train one network: the bare loop, ours, the loop people write, Lightning's.

Each takes a ``Job``, trains ``epochs + 1`` epochs and returns the seconds of each but the first,
validation included, in which caches fill, kernels are chosen and steps are captured.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import classic
import torch
import torch.nn.functional as F
from job import Job, parts
from torch import Tensor

from tuner.train import engine


def bare(job: Job, *, graph: bool = False) -> tuple[list[float], list[float]]:
    """Forward, backward, step on batches that lie ready; seconds of training, and of scoring.

    Scoring is the forward pass alone over the validation images, as ours makes one too.
    """
    found, network, optimizer = job.build()
    pixels = found.normalise(found.train.images)
    batches = list(zip(pixels.split(job.batch), found.train.labels.split(job.batch), strict=True))
    batches = batches[: len(pixels) // job.batch]
    held_out = [found.normalise(part) for part in found.validation.images.split(job.eval_batch)]

    def step(images: Tensor, labels: Tensor) -> None:
        with job.autocast():
            error = F.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        optimizer.step()

    made = _captured(step, batches, optimizer) if graph else step
    training, scoring = [], []
    for _ in range(job.epochs + 1):
        network.train()
        training.append(_timed(job, lambda: [made(*batch) for batch in batches]))
        network.eval()
        with torch.inference_mode(), job.autocast():
            scoring.append(_timed(job, lambda: [network(part) for part in held_out]))
    return training[1:], scoring[1:]


def _timed(job: Job, work: Callable[[], object]) -> float:
    began = job.now()
    work()
    return job.now() - began


def _captured(
    step: Callable[..., None], batches: list[tuple[Tensor, Tensor]], optimizer: Any
) -> Callable[..., None]:
    """The bare loop's step as a CUDA graph, as PyTorch's notes show it."""
    for group in optimizer.param_groups:
        group["capturable"] = True
    optimizer._warned_capturable_if_run_uncaptured = True
    static = [tensor.clone() for tensor in batches[0]]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step(*static)

    def replay(images: Tensor, labels: Tensor) -> None:
        static[0].copy_(images)
        static[1].copy_(labels)
        graph.replay()

    return replay


def ours(job: Job, *, threads: int = 1, **changes: Any) -> list[float]:
    """`tuner.train.engine.train` with all it does; timed between its reports."""
    marks: list[float] = []

    def report(epoch: int, **metrics: float) -> None:
        marks.append(job.now())

    with tempfile.TemporaryDirectory(dir=".") as directory:
        engine.train(**parts(job, threads, **changes), report=report, run_dir=Path(directory))
    return _differences(marks)


def usual(job: Job, *, threads: int, workers: int, tuned: bool) -> list[float]:
    """The loop people write."""
    return _differences(classic.train(job, threads=threads, workers=workers, tuned=tuned))


def lightning(job: Job, *, barest: bool) -> list[float]:
    """Lightning's Trainer on tensors, without its progress bar, and without augmentation.

    It logs and checkpoints each epoch, as ours does, and leaves network and optimiser as PyTorch
    makes them; in its barest form it does neither, and both are those of the bare loop.
    """
    import lightning_module

    if barest:
        return _differences(lightning_module.train(job, None, tuned=True))
    with tempfile.TemporaryDirectory(dir=".") as directory:
        return _differences(lightning_module.train(job, directory, tuned=False))


def _differences(marks: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(marks)]
