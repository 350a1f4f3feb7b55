"""Four ways to train one network: the bare loop, ours, the loop people write, Lightning's.

Each takes a ``Job``, trains ``epochs + 1`` epochs and returns the seconds of each but the first,
validation included, in which caches fill, kernels are chosen and steps are captured.
"""

import functools
import gzip
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.train import data, engine, hardware, loss, model, optim
from tuner.train.augment import Augment
from tuner.train.settings import Every, Settings

NETWORKS: dict[str, dict[str, Any]] = {
    # The 2-layer CNN with a dense layer that papers on Fashion-MNIST use; 0.4 M parameters.
    "small": {"depth": 2, "convs": 1, "width": 32, "head": "flatten", "hidden": 128},
    # experiment=fashion_mnist, 0.3 M parameters and three times the arithmetic.
    "deep": {"depth": 3, "convs": 2, "width": 32, "head": "average", "hidden": 0},
}
SHAPE: dict[str, Any] = {
    "growth": 2.0,
    "widths": None,
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "batch_norm": True,
    "activation": "relu",
    "dropout": 0.1,
    "initialisation": "kaiming",
}


@dataclass(frozen=True)
class Job:
    """What is trained; the same for all."""

    dataset: Literal["fashion", "digits"]
    root: str
    network: str
    device: str
    batch: int
    epochs: int
    limit: int | None
    precision: Literal["fp32", "bf16"]
    eval_batch: int = 1024

    @property
    def place(self) -> torch.device:
        return torch.device(self.device)

    @property
    def augment(self) -> Augment:
        return Augment(shift=2, flip=True) if self.dataset == "fashion" else Augment(shift=1)

    @property
    def source(self) -> Callable[[torch.device], data.Data]:
        common = {"split_seed": 0, "limit": self.limit, "augment": self.augment}
        if self.dataset == "digits":
            return functools.partial(data.digits, validation=0.25, test=0.2, **common)
        return functools.partial(
            data.vision, name="FashionMNIST", root=self.root, validation=0.1, **common
        )

    @property
    def images(self) -> int:
        """Training images an epoch, whole batches only."""
        return len(self.source(self.place).train) // self.batch * self.batch

    @property
    def model(self) -> Callable[..., nn.Sequential]:
        return functools.partial(model.cnn, **SHAPE | NETWORKS[self.network])

    def build(self) -> tuple[data.Data, nn.Sequential, torch.optim.Optimizer]:
        found = self.source(self.place)
        network = self.model(found.in_shape, 10).to(self.place)
        network = network.to(memory_format=torch.channels_last)
        return found, network, torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def autocast(self) -> torch.autocast:
        return hardware.autocast(self.place, self.precision)

    def synchronise(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize()


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
    job.synchronise()
    began = time.perf_counter()
    work()
    job.synchronise()
    return time.perf_counter() - began


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
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory(dir=".") as directory:
        engine.train(**parts(job, threads, **changes), report=report, run_dir=Path(directory))
    return _differences(marks)


def parts(job: Job, threads: int, **changes: Any) -> dict[str, Any]:
    """The configuration of ``ours``; ``changes`` are the trainer's settings."""
    settings = {
        "epochs": job.epochs + 1,
        "batch_size": job.batch,
        "eval_batch_size": job.eval_batch,
        "threads": threads,
        "precision": job.precision,
        "deterministic": False,
        "protocol": "search",
        "graph": "auto",
        "checkpoint_every": Every(epochs=1, seconds=60.0),
        "fused": 1,
        "fused_wait": 0.0,
        "devices": 1,
        "accumulate": 1,
        "clip": 0.0,
        "ema": 0.0,
        "tta": False,
    }
    penalties = {"label_smoothing": 0.0, "class_weights": None, "l1": 0.0, "l2": 0.0}
    return {
        "data": job.source,
        "model": job.model,
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True),
        "schedule": functools.partial(optim.cosine, final=0.0),
        "loss": functools.partial(loss.CrossEntropy, **penalties),
        "trainer": Settings(**settings | changes),
        "metric": "accuracy",
        "seed": 0,
        "device": job.device,
    }


class Pictures(torch.utils.data.Dataset[Any]):
    """Digits as PIL images, as torchvision's data sets give theirs."""

    def __init__(self, split: data.Split, transform: Callable[..., Any]) -> None:
        self.images, self.labels = split.images.cpu().numpy(), split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[row, :, :, 0])), self.labels[row]


def classic(job: Job, *, threads: int, workers: int) -> list[float]:
    """The loop people write: PIL transforms, a DataLoader, ``.item()`` at every step."""
    from torchvision import transforms

    torch.set_num_threads(threads)
    found, network, optimizer = job.build()
    mean, std = (found.mean / 255).tolist(), (found.std / 255).tolist()
    end = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    size, shift = found.in_shape[1], job.augment.shift
    start: list[Any] = [transforms.RandomCrop(size, padding=shift)]
    start += [transforms.RandomHorizontalFlip()] * job.augment.flip
    common: dict[str, Any] = {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": job.place.type == "cuda",
    }
    training = torch.utils.data.DataLoader(
        _pictures(job, found.train, transforms.Compose(start + end), train=True),
        job.batch, shuffle=True, drop_last=True, **common,
    )  # fmt: skip
    validation = torch.utils.data.DataLoader(
        _pictures(job, found.validation, transforms.Compose(end), train=True),
        job.eval_batch, **common,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, job.epochs + 1)
    marks = []
    for _ in range(job.epochs + 1):
        _classic_epoch(job, network, optimizer, training, validation)
        schedule.step()
        marks.append(time.perf_counter())
    return _differences(marks)


def _classic_epoch(job: Job, network: Any, optimizer: Any, training: Any, validation: Any) -> None:
    total, hits = 0.0, 0
    network.train()
    for images, labels in training:
        images, labels = images.to(job.place), labels.to(job.place)
        optimizer.zero_grad()
        with job.autocast():
            error = F.cross_entropy(network(images), labels)
        error.backward()
        optimizer.step()
        total += error.item()
    network.eval()
    with torch.no_grad(), job.autocast():
        for images, labels in validation:
            predicted = network(images.to(job.place)).argmax(1)
            hits += (predicted == labels.to(job.place)).sum().item()


def _pictures(job: Job, split: data.Split, transform: Any, *, train: bool) -> Any:
    """torchvision's own data set with the images of ``split``; for digits one like it."""
    if job.dataset == "digits":
        return Pictures(split, transform)
    from torchvision.datasets import FashionMNIST

    found = FashionMNIST(_torchvision_root(job.root), train=train, transform=transform)
    found.data = split.images[..., 0].cpu()
    found.targets = split.labels.cpu()
    return found


@functools.lru_cache
def _torchvision_root(root: str) -> str:
    """A root as torchvision lays it out, made of Debian's flat directory where need be."""
    if (Path(root) / "FashionMNIST").is_dir():
        return root
    # Kept until the process ends.
    made = _KEPT.setdefault(root, tempfile.TemporaryDirectory())
    raw = Path(made.name) / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in Path(root).glob("*-ubyte*"):
        content = path.read_bytes()
        (raw / path.stem if path.suffix == ".gz" else raw / path.name).write_bytes(
            gzip.decompress(content) if path.suffix == ".gz" else content
        )
    return made.name


_KEPT: dict[str, tempfile.TemporaryDirectory[str]] = {}


def lightning(job: Job, *, barest: bool) -> list[float]:
    """Lightning's Trainer on tensors, without its progress bar, and without augmentation.

    It logs and checkpoints each epoch, as ours does; in its barest form neither.
    """
    import lightning_module

    if barest:
        return _differences(lightning_module.train(job, None))
    with tempfile.TemporaryDirectory(dir=".") as directory:
        return _differences(lightning_module.train(job, directory))


def _differences(marks: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(marks)]
