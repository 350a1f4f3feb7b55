"""Runs trainings on the fake device and on the CPU, and compares them."""

import copy
import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from tests.fakecuda import as_on_a_device, fake_cuda
from tests.fakecuda.kernels import Kernels
from tests.recipes import Curve
from tuner.config.composition import Source
from tuner.train import misclassified
from tuner.train.device import cuda_graph
from tuner.worker import trial

INTENDED = {
    "Progress.settle": "the scores of an epoch are read once, beside the next one's first steps",
    "Progress.completed": "the picture of the mistakes is drawn once, after the last epoch",
    "Rates.__init__": "the learning rates go to the device once a run",
    "Capture._capture": "torch.cuda.graph waits for the device once, before it records",
}
"""Intended synchronisations during training, by function."""

BASE = [
    "data.limit=120", "trainer.epochs=2", "trainer.batch_size=15", "trainer.precision=fp32",
]  # fmt: skip
SMALL = ["model.width=4", "model.convs=1"]


@contextmanager
def on_the_device() -> Iterator[Kernels]:
    """Context manager: trainings may use the fake device; the pictures of mistakes are small."""
    with fake_cuda() as kernels, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            misclassified, "SHOWN", 1
        )  # a picture of twenty takes as long as the training
        yield kernels


class Report(Curve):
    """Also keeps what a run notes, and may stop it after some steps."""

    def __init__(self, killed_after: int | None = None, **leaving: Any) -> None:
        super().__init__(**leaving)
        self.steps_left = killed_after
        self.notes: dict[str, object] = {}

    def note(self, **notes: object) -> None:
        self.notes |= notes

    def poll(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if not self.steps_left:
                raise SystemExit


@functools.cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    small = [] if "model=torchvision" in overrides else SMALL
    return Source().compose([*BASE, *small, *overrides])


def train(
    run_dir: Path, device: str | None, overrides: Sequence[str], rung: cuda_graph.Rung = "auto",
    report: Report | None = None,
) -> Report:  # fmt: skip
    """Train one configuration; returns its report."""
    report = report or Report()
    cfg = copy.deepcopy(composed(tuple(overrides)))  # to compose one takes longer than to train it
    cfg.trainer.graph = rung
    trial.run(cfg, run_dir=run_dir, report=report, device=device)
    return report


@functools.cache
def expected(*overrides: str) -> Report:
    """The report of a configuration trained on the CPU."""
    with tempfile.TemporaryDirectory() as run_dir, as_on_a_device():
        return train(Path(run_dir), "cpu", overrides)


def same(curve: Curve, wanted: Curve) -> None:
    assert curve.points.keys() == wanted.points.keys()
    for epoch, metrics in wanted.points.items():
        for name in ("loss", "train_loss"):
            assert curve.points[epoch][name] == pytest.approx(metrics[name], rel=2e-3)
        assert curve.points[epoch] == pytest.approx(metrics, abs=0.05)  # ties may differ


def check_discipline(device: Kernels, *training: str) -> None:
    """Assert that the functions ``training`` did not synchronise, and that there was no race."""
    inside = set(training or ["_train_epochs"])
    waits = [wait for wait in device.waits if inside & set(wait.callers)]
    assert [wait for wait in waits if not INTENDED.keys() & set(wait.callers)] == []
    assert device.races == []
