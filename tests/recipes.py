"""A small, complete training run from plain Python partials, for the trainer's tests."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tuner.errors import Preempted
from tuner.train import engine, loss
from tuner.train.checkpoint import checkpoint
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.model import cnn
from tuner.train.optim import parameter_groups
from tuner.train.settings import Every, Settings

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "eval_batch_size": 64,
    "threads": 1,
    "precision": "auto",
    "deterministic": False,
    "protocol": "search",
    "graph": "auto",
    "checkpoint_every": Every(epochs=1, seconds=60.0),
    "fused": 1,
    "fused_wait": 5.0,
    "devices": 1,
    "accumulate": 1,
    "clip": 0.0,
    "ema": 0.0,
    "tta": False,
}
MODEL: dict[str, Any] = {
    "depth": 2,
    "convs": 1,
    "width": 4,
    "growth": 2.0,
    "widths": None,
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "batch_norm": True,
    "activation": "relu",
    "head": "average",
    "hidden": 0,
    "dropout": 0.2,
    "initialisation": "kaiming",
}
LOSS: dict[str, Any] = {"label_smoothing": 0.1, "class_weights": None, "l1": 0.0, "l2": 0.0}
DATA: dict[str, Any] = {"validation": 0.25, "test": 0.2, "split_seed": 0, "limit": 300}
AUGMENT = Augment(shift=1, flip=True, cutout=2)


def settings(**changes: Any) -> Settings:
    return Settings(**SETTINGS | changes)


def network(**changes: Any) -> functools.partial[torch.nn.Sequential]:
    return functools.partial(cnn.cnn, **MODEL | changes)


def digits(augment: Augment = AUGMENT, **changes: Any) -> dataset.Data:
    return dataset.digits(CPU, augment=augment, **DATA | changes)


def train(
    run_dir: Path, report: Callable[..., None], *, device: str | None = "cpu", **changes: Any
) -> float:
    """`engine.train` on 225 digits; ``changes`` replace whole parts of it."""
    parts: dict[str, Any] = {
        "data": functools.partial(dataset.digits, augment=AUGMENT, **DATA),
        "model": network(),
        "optimizer": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
        "schedule": functools.partial(parameter_groups.cosine, final=0.0),
        "loss": functools.partial(loss.CrossEntropy, **LOSS),
        "trainer": settings(),
        "metric": "accuracy",
        "seed": 1,
    }
    return engine.train(**parts | changes, report=report, run_dir=run_dir, device=device)


class Curve:
    """A report that keeps what it is told, and may leave in an epoch.

    ``Preempted`` comes once the epoch is kept, as from tuner's own report; others come before.
    """

    def __init__(self, leave_in: int | None = None, exception: type[BaseException] = SystemExit):
        self.points: dict[int, dict[str, float]] = {}
        self.leave_in, self.exception = leave_in, exception

    def __call__(self, epoch: int, **metrics: float) -> None:
        if epoch != self.leave_in or issubclass(self.exception, Preempted):
            self.points[epoch] = metrics
        if epoch == self.leave_in:
            raise self.exception


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """The network's tensors in the checkpoint."""
    state = checkpoint.read(run_dir / "checkpoint.pt")
    tensors: dict[str, torch.Tensor] = state["learner"]["network"]
    return tensors


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two networks have the same weights, to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Waits(TorchDispatchMode):
    """Counts what would wait for the device on a GPU, in the order in which it happens.

    Reading a value (``item``, ``float``, ``bool``), shapes that depend on values (``nonzero`` and
    kin) pass the dispatcher on the CPU too; ``tolist``, ``numpy`` and ``cpu`` do not and are
    caught by name.
    """

    OPERATORS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "bincount", "equal")
    METHODS = ("tolist", "numpy", "cpu")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.patch = pytest.MonkeyPatch()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(self.OPERATORS):
            self.seen.append(name)
        return func(*args, **kwargs or {})

    def __enter__(self) -> "Waits":
        for name in self.METHODS:
            self.patch.setattr(torch.Tensor, name, self._noting(getattr(torch.Tensor, name)))
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self.patch.undo()

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(method.__name__)
            return method(tensor, *args, **kwargs)

        return noted
