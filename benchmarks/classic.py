"""The plain PyTorch loop: a torchvision data set, PIL transforms, a DataLoader, ``.item()``.

Network and optimiser have PyTorch's defaults; if ``tuned``, they are those of the bare loop, with
channels_last and a fused AdamW.
"""

import functools
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from job import Job
from PIL import Image
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from tuner.train.data import dataset


class Pictures(Dataset[Any]):
    """A split as PIL images, like those of torchvision's data sets."""

    def __init__(self, split: dataset.Split, transform: Callable[..., Any]) -> None:
        self.images, self.labels = split.images.cpu().numpy(), split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[row].squeeze())), self.labels[row]


def train(job: Job, *, threads: int, workers: int, tuned: bool) -> list[float]:
    """Train, and return the time at the end of each epoch."""
    torch.set_num_threads(threads)
    found, network, optimizer = job.build(tuned=tuned)
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
    training = DataLoader(
        _pictures(job, found.train, transforms.Compose(start + end), train=True),
        job.batch, shuffle=True, drop_last=True, **common,
    )  # fmt: skip
    validation = DataLoader(
        _pictures(job, found.validation, transforms.Compose(end), train=True),
        job.eval_batch, **common,
    )  # fmt: skip
    schedule = CosineAnnealingLR(optimizer, job.epochs + 1)
    marks = []
    for _ in range(job.epochs + 1):
        _classic_epoch(job, network, optimizer, training, validation)
        schedule.step()
        marks.append(job.now())
    return marks


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


def _pictures(job: Job, split: dataset.Split, transform: Any, *, train: bool) -> Any:
    """Return torchvision's data set with the images of ``split``, or a similar one."""
    if job.dataset != "fashion":
        return Pictures(split, transform)
    found = FashionMNIST(_torchvision_root(job.root), train=train, transform=transform)
    found.data = split.images[..., 0].cpu()
    found.targets = split.labels.cpu()
    return found


@functools.lru_cache
def _torchvision_root(root: str) -> str:
    """Return a root in torchvision's layout, built from Debian's flat directory if necessary."""
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
