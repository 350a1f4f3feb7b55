"""The training of the trainer's benchmark: data, network and settings, the same for all."""

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from noise import noise
from torch import nn

from tuner.train import loss
from tuner.train.data import dataset as data
from tuner.train.data.augment import Augment
from tuner.train.device import hardware
from tuner.train.model import cnn
from tuner.train.optim import parameter_groups
from tuner.train.settings import Every, Settings

NETWORKS: dict[str, dict[str, Any]] = {
    # The 2-layer CNN with a dense layer that papers on Fashion-MNIST use; 0.4 M parameters.
    "small": {"depth": 2, "convs": 1, "width": 32, "head": "flatten", "hidden": 128},
    # experiment=fashion_mnist, 0.3 M parameters and three times the arithmetic.
    "deep": {"depth": 3, "convs": 2, "width": 32, "head": "average", "hidden": 0},
}
NOISE: dict[str, dict[str, Any]] = {
    # Of the shapes and sizes of Fashion-MNIST and CIFAR-10, where their files are not at hand.
    "fashion-noise": {"images": 54_000, "side": 28, "channels": 1, "validation": 1 / 9},
    "cifar-noise": {"images": 45_000, "side": 32, "channels": 3, "validation": 1 / 9},
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
    """The data, network and settings of a training, the same for all contenders."""

    dataset: Literal["fashion", "digits", "fashion-noise", "cifar-noise"]
    root: str
    network: str
    device: str
    batch: int
    epochs: int
    limit: int | None
    precision: Literal["fp32", "bf16"]
    eval_batch: int = 1024
    clock: Literal["wall", "cpu"] = "wall"
    """``cpu``: the CPU time of all threads of this process, regardless of other load."""

    @property
    def place(self) -> torch.device:
        return hardware.choose(self.device)

    @property
    def augment(self) -> Augment:
        return Augment(shift=1) if self.dataset == "digits" else Augment(shift=2, flip=True)

    @property
    def source(self) -> Callable[[torch.device], data.Data]:
        if self.dataset in NOISE:
            shape = NOISE[self.dataset]
            size = {"images": self.limit or shape["images"]}
            return functools.partial(noise, **shape | size, augment=self.augment)
        common = {"split_seed": 0, "limit": self.limit, "augment": self.augment}
        if self.dataset == "digits":
            return functools.partial(data.digits, validation=0.25, test=0.2, **common)
        return functools.partial(
            data.vision, name="FashionMNIST", root=self.root, validation=0.1, **common
        )

    @property
    def images(self) -> int:
        """The number of training images per epoch, in whole batches."""
        return len(self.source(self.place).train) // self.batch * self.batch

    @property
    def model(self) -> Callable[..., nn.Sequential]:
        return functools.partial(cnn.cnn, **SHAPE | NETWORKS[self.network])

    def build(
        self, *, tuned: bool = True
    ) -> tuple[data.Data, nn.Sequential, torch.optim.Optimizer]:
        """Return data, network and optimiser, with PyTorch's defaults unless ``tuned``."""
        found = self.source(self.place)
        network = self.model(found.in_shape, 10).to(self.place)
        if not tuned:
            return found, network, torch.optim.AdamW(network.parameters(), lr=1e-3)
        network = network.to(memory_format=torch.channels_last)
        return found, network, torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def autocast(self) -> AbstractContextManager[Any]:
        return hardware.autocast(self.place, self.precision)

    def now(self) -> float:
        """Return the clock's seconds after synchronising with the device."""
        self.synchronise()
        return time.process_time() if self.clock == "cpu" else time.perf_counter()

    def synchronise(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize()


def parts(job: Job, threads: int, **changes: Any) -> dict[str, Any]:
    """Return the configuration of ``ours``; ``changes`` are settings of the trainer."""
    settings = {
        "epochs": job.epochs + 1,
        "batch_size": job.batch,
        "eval_batch_size": job.eval_batch,
        "threads": threads,
        "precision": job.precision,
        "deterministic": False,
        "protocol": "search",
        "graph": "auto",
        "checkpoint_every": Every(epochs=1, seconds=60.0, share=0.02),
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
        "schedule": functools.partial(parameter_groups.cosine, final=0.0),
        "loss": functools.partial(loss.CrossEntropy, **penalties),
        "trainer": Settings(**settings | changes),
        "metric": "accuracy",
        "seed": 0,
        "device": job.device,
    }
