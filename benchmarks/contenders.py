"""Four ways to train one network: the bare loop, tuner, the plain PyTorch loop, Lightning.

Each takes a ``Job``, trains ``epochs + 1`` epochs and returns the seconds of each, validation
included, except the first, in which caches fill, kernels are selected and steps are captured.
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
    """Return the seconds of training and of scoring of each epoch of the bare loop."""
    loop = Bare(job, graph=graph)
    training, scoring = zip(*(loop.epoch() for _ in range(job.epochs + 1)), strict=True)
    return list(training[1:]), list(scoring[1:])


class Bare:
    """Forward, backward and step on batches that are ready on the device.

    Scoring is only the forward pass over the validation images, which tuner makes as well.
    """

    def __init__(self, job: Job, *, graph: bool = False) -> None:
        self.job = job
        found, self.network, self.optimizer = job.build()
        pixels = found.normalise(found.train.images)
        parts = zip(pixels.split(job.batch), found.train.labels.split(job.batch), strict=True)
        self.batches = list(parts)[: len(pixels) // job.batch]
        held_out = found.validation.images.split(job.eval_batch)
        self.held_out = [found.normalise(part) for part in held_out]
        self.make = _captured(self.step, self.batches, self.optimizer) if graph else self.step

    def step(self, images: Tensor, labels: Tensor) -> None:
        with self.job.autocast():
            error = F.cross_entropy(self.network(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        error.backward()
        self.optimizer.step()

    def epoch(self) -> tuple[float, float]:
        """Return the seconds of its training and of its scoring."""
        self.network.train()
        training = _timed(self.job, lambda: [self.make(*batch) for batch in self.batches])
        self.network.eval()
        with torch.inference_mode(), self.job.autocast():
            scoring = _timed(self.job, lambda: [self.network(part) for part in self.held_out])
        return training, scoring


def _timed(job: Job, work: Callable[[], object]) -> float:
    began = job.now()
    work()
    return job.now() - began


def _captured(
    step: Callable[..., None], batches: list[tuple[Tensor, Tensor]], optimizer: Any
) -> Callable[..., None]:
    """Capture the bare loop's step as a CUDA graph, as PyTorch's documentation does."""
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


def ours(
    job: Job, *, threads: int = 1, between: Callable[[], object] = lambda: None, **changes: Any
) -> list[float]:
    """Run `tuner.train.engine.train` with all features, timed between its reports.

    ``between`` is called in each report, and its time is not counted.
    """
    marks: list[tuple[float, float]] = []

    def report(epoch: int, **metrics: float) -> None:
        end = job.now()
        between()
        marks.append((end, job.now()))

    with tempfile.TemporaryDirectory(dir=".") as directory:
        engine.train(**parts(job, threads, **changes), report=report, run_dir=Path(directory))
    return [end - begin for (_, begin), (end, _) in itertools.pairwise(marks)]


def paired(job: Job, *, graph: bool = False) -> list[float]:
    """Return the ratio of a bare epoch's seconds to each of tuner's, measured in alternation.

    Other load affects both alike. The bare loop's epoch runs in the report, which no longer waits
    for a checkpoint.
    """
    loop, theirs = Bare(job, graph=graph), []
    mine = ours(job, between=lambda: theirs.append(sum(loop.epoch())))
    return [bare / own for bare, own in zip(theirs[1:], mine, strict=True)]


def usual(job: Job, *, threads: int, workers: int, tuned: bool) -> list[float]:
    """Run the plain PyTorch loop."""
    return _differences(classic.train(job, threads=threads, workers=workers, tuned=tuned))


def lightning(job: Job, *, barest: bool) -> list[float]:
    """Run Lightning's Trainer on tensors, without its progress bar and without augmentation.

    It logs and checkpoints each epoch, as tuner does, with PyTorch's defaults of network and
    optimiser; in its barest form it does neither, and both are those of the bare loop.
    """
    import lightning_module

    if barest:
        return _differences(lightning_module.train(job, None, tuned=True))
    with tempfile.TemporaryDirectory(dir=".") as directory:
        return _differences(lightning_module.train(job, directory, tuned=False))


def _differences(marks: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(marks)]
