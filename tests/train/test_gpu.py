"""Whole runs on a GPU: placement, reproducibility and recovery.

Tests that a CPU can run are run there too.
"""

import dataclasses
import functools
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import recipes
from tests.gpu import PLACES, curve, exact, learner, needs_gpu, on_gpu, start
from tests.recipes import Curve, network, settings, train
from tuner.environment import MEMORY_FRACTION
from tuner.train import loss
from tuner.train.data import dataset
from tuner.train.device import hardware
from tuner.train.fused import probe
from tuner.worker import failures

GPU = "cuda:0"
NO_PENALTY = {"l1": 0.0, "l2": 0.0}


class Noted(Curve):
    """A curve, and what the run notes of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, object] = {}

    def note(self, **facts: object) -> None:
        self.facts |= facts


@pytest.mark.parametrize("device", ["cpu", on_gpu(None), on_gpu("cuda"), on_gpu(GPU)])
def test_a_run_starts_on_a_device_named_in_any_way(device, tmp_path):
    report = Noted()
    train(tmp_path, report, device=device, trainer=settings(epochs=1))
    assert str(report.facts["device"]).split()[0] == ("cpu" if device == "cpu" else GPU)


def numbers(device: torch.device) -> dataset.Data:
    """The digits with two float targets in place of a class."""
    digits = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)

    def targets(split: dataset.Split) -> dataset.Split:
        labels = torch.stack([split.labels / 10, split.labels % 2], 1).float()
        return dataclasses.replace(split, labels=labels)

    parts = {name: targets(getattr(digits, name)) for name in ("train", "validation", "test")}
    return dataclasses.replace(digits, classes=("a", "b"), **parts)


BLOCKS = {
    f"{block} {pooling}": {"model": network(block=block, pooling=pooling)}
    for block in ("plain", "residual", "depthwise")
    for pooling in ("max", "avg", "none")
}
LAYERS = {
    "everything": {
        "model": network(
            block="residual", squeeze=2, drop_path=0.2, kernel_size=[2, 3], head="flatten",
            hidden=16, activation="prelu",
        ),
        "trainer": {"ema": 0.9, "clip": 1.0, "accumulate": 2, "tta": True},
    },
    "mixed": {
        "data": functools.partial(
            dataset.digits, balanced=True,
            augment=dataclasses.replace(recipes.AUGMENT, mixup=0.4, cutmix=1.0, border="reflect"),
            **recipes.DATA,
        ),
        "metric": "auroc",
    },
    "captured": {"trainer": {"graph": "graph"}},
    "fp32": {"trainer": {"precision": "fp32"}},
}  # fmt: skip
LOSSES = {
    "weighted": functools.partial(
        loss.CrossEntropy, **recipes.LOSS | {"class_weights": "balanced", "l1": 1e-4, "l2": 1e-4}
    ),
    "focal": functools.partial(loss.Focal, gamma=2.0, class_weights=None, **NO_PENALTY),
    "mse": functools.partial(loss.MeanSquaredError, **NO_PENALTY),
}
TARGETS = {
    "mse of numbers": LOSSES["mse"],
    "huber": functools.partial(loss.Huber, delta=1.0, **NO_PENALTY),
    "l1": functools.partial(loss.AbsoluteError, **NO_PENALTY),
}
REPEATED = {
    **BLOCKS,
    **LAYERS,
    **{name: {"loss": kind} for name, kind in LOSSES.items()},
    **{name: {"loss": kind, "data": numbers, "metric": "mae"} for name, kind in TARGETS.items()},
}


@pytest.fixture
def as_before():
    """A deterministic run sets the process up for it, which the next run undoes."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("place", "case"),
    [("cpu", "everything"), ("cpu", "huber"), *(on_gpu(GPU, case) for case in REPEATED)],
)
def test_a_deterministic_run_repeats_to_the_same_bits(place, case, tmp_path, as_before):
    parts = dict(REPEATED[case])
    chosen = {"epochs": 2, "deterministic": True} | parts.pop("trainer", {})
    curves = [Curve(), Curve()]
    for number, report in enumerate(curves):
        where = tmp_path / str(number)
        train(where, report, device=place, trainer=settings(**chosen), **parts)
    assert len(curves[0].points) == 2
    assert curves[0].points == curves[1].points


class Greedy(nn.Sequential):
    """Wants more than there is."""

    def forward(self, images):
        if not images.is_cuda:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB")
        torch.empty(8 << 30, dtype=torch.uint8, device=images.device)
        return super().forward(images)


def greedy(in_shape, num_classes) -> nn.Module:
    return Greedy(*network()(in_shape, num_classes))


@pytest.mark.parametrize("place", PLACES)
def test_a_trial_that_runs_out_of_memory_is_infeasible_and_the_next_one_as_good_as_ever(
    place, tmp_path, monkeypatch
):
    before, after = Curve(), Curve()
    if place != "cpu":
        total = torch.cuda.mem_get_info()[1]
        monkeypatch.setenv(MEMORY_FRACTION, str(min(1.0, (4 << 30) / total)))
    given = {"device": place, "trainer": settings(graph="graph", precision="fp32")}
    train(tmp_path / "before", before, **given)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        train(tmp_path / "greedy", Curve(), model=greedy, **given)
    assert failures.is_out_of_memory(caught.value)
    assert not failures.is_broken_device(caught.value)
    del caught  # its frames hold the tensors
    failures.free_memory()
    train(tmp_path / "after", after, **given)
    for epoch, metrics in before.points.items():
        assert after.points[epoch]["train_loss"] == pytest.approx(metrics["train_loss"], rel=2e-3)


@pytest.mark.parametrize("place", PLACES)
@exact()
def test_a_curve_in_bf16_is_near_that_in_fp32(place):
    exactly, halved = (learner(place, precision=name) for name in ("fp32", "bf16"))
    wanted, found = curve(exactly), curve(halved)
    assert found != wanted, "it does compute in bf16"
    assert found == pytest.approx(wanted, rel=0.1)
    assert found[-1] < found[0]
    assert {parameter.dtype for parameter in halved.network.parameters()} == {torch.float32}


class Dies(Curve):
    """Ends its process, or this run alone, in the report of the second epoch."""

    def __init__(self, *, process: bool) -> None:
        super().__init__()
        self.process = process

    def __call__(self, epoch: int, **metrics: float) -> None:
        if epoch == 2 and self.process:
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch == 2:
            raise SystemExit
        super().__call__(epoch, **metrics)


def killed(directory: str, device: str, *, process: bool = True) -> None:
    """Trains until the report of the second epoch."""
    train(Path(directory), Dies(process=process), device=device, **whole_run())


def resumed(directory: str, device: str) -> None:
    """Trains to the end and prints what it reported."""
    report = Curve()
    train(Path(directory), report, device=device, **whole_run())
    print(json.dumps(report.points))


def whole_run() -> dict:
    return {"trainer": settings(epochs=4, graph="graph", precision="fp32", deterministic=True)}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_was_killed_goes_on_in_another_process(place, tmp_path, capsys, as_before):
    directory, whole = str(tmp_path / "run"), Curve()
    train(tmp_path / "whole", whole, device=place, **whole_run())
    if place == "cpu":  # whose processes other tests kill
        with pytest.raises(SystemExit):
            killed(directory, place, process=False)
        resumed(directory, place)
        told = capsys.readouterr().out
    else:
        first = start(f"test_gpu.killed({directory!r}, {place!r})")
        first.communicate(timeout=280)
        assert first.returncode == -signal.SIGKILL
        second = start(f"test_gpu.resumed({directory!r}, {place!r})")
        told, _ = second.communicate(timeout=280)
        assert second.returncode == 0
    points = {int(epoch): metrics for epoch, metrics in json.loads(told.splitlines()[-1]).items()}
    assert list(points) == [2, 3, 4], "from the checkpoint of the second epoch on"
    for epoch, metrics in points.items():
        assert metrics == pytest.approx(whole.points[epoch], rel=2e-3, abs=1e-3)


def beside_another(directory: str, number: int) -> None:
    """Trains while the other process does; prints its curve, and whether it kept to its share."""
    mine, theirs = (Path(directory, str(n)) for n in (number, 1 - number))
    report = Curve()
    train(mine / "first", Curve(), device=GPU, trainer=settings(epochs=1, graph="graph"))
    (mine / "ready").touch()
    while not (theirs / "ready").exists():  # until both have their context; the test has a limit
        time.sleep(0.01)
    train(mine / "run", report, device=GPU, trainer=settings(epochs=20, graph="graph"))
    total = torch.cuda.mem_get_info()[1]
    try:
        torch.empty(total // 2, dtype=torch.uint8, device=GPU)
        kept = False
    except torch.OutOfMemoryError:
        kept = True
    free = hardware.free_bytes(torch.device(GPU)) / total
    print(json.dumps({"kept": kept, "free": free, "points": report.points}))


@needs_gpu
def test_two_processes_share_a_gpu_each_with_its_part_of_the_memory(tmp_path):
    call = f"test_gpu.beside_another({str(tmp_path)!r}, %d)"
    both = [start(call % number, **{MEMORY_FRACTION: "0.4"}) for number in range(2)]
    try:
        told = [process.communicate(timeout=280)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0]
    found = [json.loads(text.splitlines()[-1]) for text in told]
    alone = Curve()
    train(tmp_path / "alone", alone, device=GPU, trainer=settings(epochs=20, graph="graph"))
    for each in found:
        assert each["kept"], "half of the device is more than its share"
        assert each["free"] <= 0.4
        loss_ = [each["points"][str(epoch)]["train_loss"] for epoch in (1, 20)]
        wanted = [alone.points[epoch]["train_loss"] for epoch in (1, 20)]
        assert loss_ == pytest.approx(wanted, rel=0.1), "cuDNN may choose other kernels"


@pytest.mark.parametrize("place", PLACES)
def test_the_probe_measures_every_form_on_the_device(place, monkeypatch, caplog):
    monkeypatch.setattr(probe, "_chosen", {})
    monkeypatch.setattr(probe, "GAIN", 0.0)  # whatever it gains
    learners = [learner(place) for _ in range(3)]
    before = [parameter.clone() for one in learners for parameter in one.network.parameters()]
    with caplog.at_level("INFO", "tuner"):
        chosen = probe.choose(learners)
    forms = probe.FORMS.get(place, probe.FORMS_ON_DEVICE)
    assert chosen in forms
    assert "not fused as" not in caplog.text
    shown = next(text for text in caplog.messages if "speed-up of training" in text)
    assert all(f"{form} " in shown for form in forms)
    after = [parameter for one in learners for parameter in one.network.parameters()]
    assert all(map(torch.equal, before, after)), "the learners themselves have not trained"
