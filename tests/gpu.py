"""Marks and a learner for tests on a GPU.

This module imports neither Hydra nor Optuna, so that a GPU machine without them can run the tests.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import recipes
from tuner.train import loss
from tuner.train.data import dataset
from tuner.train.device import hardware
from tuner.train.learner import Learner
from tuner.train.optim import parameter_groups

ROOT = Path(__file__).parents[1]
MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)


def on_gpu(*values: Any) -> Any:
    """A case of a parametrised test that needs a GPU."""
    return pytest.param(*values, marks=MARKS)


def needs_gpu(test: Any) -> Any:
    """Mark a test that needs a GPU."""
    return functools.reduce(lambda marked, mark: mark(marked), MARKS, test)


PLACES = ["cpu", on_gpu("cuda:0")]
"""Devices for tests that also make sense on a CPU."""

OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
}


def learner(
    place: str, network: nn.Module | None = None, optimizer: str = "adamw", **changes: Any
) -> Learner:
    """A learner on 225 digits, in fp32 unless ``changes`` override the settings."""
    device = torch.device(place)
    images = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    hardware.reseed(1, 0, device)
    network = network or recipes.network(dropout=0.3)(images.in_shape, 10)
    settings = recipes.settings(**{"epochs": 4, "precision": "fp32"} | changes)
    schedule = functools.partial(parameter_groups.cosine, final=0.0)
    objective = loss.CrossEntropy([1] * 10, **recipes.LOSS)
    return Learner(network, OPTIMIZERS[optimizer], schedule, objective, images, settings)


def curve(run: Learner, epochs: range = range(1, 5)) -> list[float]:
    """The mean loss of each epoch, seeded as the trainer seeds it."""
    return [
        float(run.train_epoch(run.data.train, epoch, hardware.reseed(1, epoch, run.device)))
        for epoch in epochs
    ]


@contextmanager
def exact() -> Iterator[None]:
    """Context manager: no cuDNN benchmarking and no TF32, whose rounding would hide differences."""
    precision = torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = False
        torch.set_float32_matmul_precision(precision)


def start(call: str, **environment: str) -> subprocess.Popen[str]:
    """Start a process that makes the call, such as ``test_gpu.killed('a directory')``."""
    module = call.partition(".")[0]
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests import {module}; {call}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
