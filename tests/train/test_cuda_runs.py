"""Whole runs of the trainer on a simulated CUDA device."""

import functools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch

from tests import fakecuda, recipes
from tests.fakecuda import as_on_a_device
from tests.fakecuda.kernels import Kernels
from tests.fakecuda.placement import DEVICE
from tests.fakecuda.trainings import (
    INTENDED,
    Report,
    check_discipline,
    expected,
    on_the_device,
    same,
    train,
)
from tests.recipes import CPU
from tuner.errors import Pruned
from tuner.train.data import dataset
from tuner.train.device import cuda_graph, hardware
from tuner.train.fused import probe
from tuner.train.fused.fused_learner import FusedLearner
from tuner.train.fused.stacked_modules import Form
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.optim import parameter_groups

pytestmark = fakecuda.needed


@pytest.fixture
def device() -> Iterator[Kernels]:
    with on_the_device() as kernels:
        yield kernels


@pytest.mark.parametrize("name", [None, "cuda", "cuda:0"])
def test_a_run_starts_and_ends_on_the_device_however_it_is_named(name, device, tmp_path):
    whole = ["trainer.epochs=3", "objective.measure=[multiply_adds,latency_ms]"]
    report = train(tmp_path, name, whole, "graph")
    same(report, expected(*whole))
    check_discipline(device)
    assert report.notes["device"] == "cuda:0 stand-in"
    assert report.notes["latency_ms"] > 0
    met = Counter(name for wait in device.waits for name in INTENDED if name in wait.callers)
    assert met.pop("Progress.settle") == 3, "once an epoch"
    assert met == {"Rates.__init__": 1, "Capture._capture": 1, "Progress.completed": 2}


@pytest.mark.parametrize("rung", ["graph", "eager"])
def test_a_run_that_was_killed_within_an_epoch_goes_on(rung, device, tmp_path):
    """The optimiser's counters go where its steps, captured or not, want to read them."""
    whole = ["optimizer=nadam", "trainer.checkpoint_every.seconds=1e-9"]
    wanted = train(tmp_path / "whole", "cuda", whole, rung)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", "cuda", whole, rung, Report(killed_after=8))
    rest = train(tmp_path / "killed", "cuda", whole, rung)
    assert rest.points == {2: pytest.approx(wanted.points[2], rel=2e-3)}
    check_discipline(device)


def test_a_final_and_deterministic_run(device, tmp_path):
    whole = ["trainer.deterministic=true", "trainer.protocol=final"]
    same(train(tmp_path, "cuda", whole), expected(*whole))
    check_discipline(device)
    assert (tmp_path / "model.safetensors").exists()


def test_stages_are_freed_in_a_captured_run(device, tmp_path):
    """The step is recorded anew, with the optimiser's state of what was frozen."""
    whole = [
        "model=torchvision", "model.name=squeezenet1_1", "model.weights=null", "model.size=32",
        "model.freeze=0.5", "model.unfreeze_epoch=2", "optimizer=sgd", "optimizer.lr=1e-3",
        "trainer.batch_size=18",
    ]  # fmt: skip
    same(train(tmp_path, "cuda", whole, "graph"), expected(*whole))
    check_discipline(device)
    assert device.replays == 2 * (90 // 18 - cuda_graph.WARM_UP)


def test_trials_in_threads_train_as_one_and_one_leaves(device, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "choose", lambda those: "grouped" if len(those) > 1 else None)
    fused = ["model.dropout=0.0", "trainer.fused=3", "trainer.fused_wait=60"]

    def one(seed: int) -> Report:
        report = Report(leave_in=2 if seed == 2 else None, exception=Pruned)
        with fakecuda.entered(device), suppress(Pruned):
            train(tmp_path / str(seed), "cuda", [*fused, f"seed={seed}"], "graph", report)
        return report

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(one, range(3)))
    assert [list(report.points) for report in reports] == [[1, 2], [1, 2], [1]]
    for seed, report in enumerate(reports):
        wanted = expected("model.dropout=0.0", f"seed={seed}")
        for epoch, metrics in report.points.items():
            assert metrics["loss"] == pytest.approx(wanted.points[epoch]["loss"], rel=1e-2)
    check_discipline(device, "Crew.train_epoch", "Crew.evaluate")
    assert device.replays > 0


FUSED = {
    "grouped": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, fused=True),
    "contiguous": functools.partial(torch.optim.RMSprop, lr=1e-3, foreach=True),
    "products": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
}


def crewed(device: torch.device, form: Form) -> list[list[float]]:
    """The losses of two epochs of three networks as one, and their scores in the end."""
    images = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA | {"limit": 120})
    learners = []
    for number in range(3):
        hardware.reseed(number, 0, device)
        network = recipes.network(dropout=0.0, activation="prelu")(images.in_shape, 10)
        weighed = {"l1": 1e-4 * number, "class_weights": [1.0] * 10 if number else None}
        learners.append(Learner(
            network, FUSED[form], functools.partial(parameter_groups.cosine, final=0.0),
            CrossEntropy([1] * 10, **recipes.LOSS | weighed), images,
            recipes.settings(graph="graph", epochs=2, batch_size=15, fused=3, clip=1.0),
        ))  # fmt: skip
    fused_learner, losses = FusedLearner(learners, form), []
    for epoch in (1, 2):
        generators = [torch.Generator(device).manual_seed(number) for number in range(3)]
        steps = fused_learner.train_epoch(images.train, epoch, generators, generators)
        fused_learner.store(epoch * steps)
        losses.append(fused_learner.total.clone())
    tallies = fused_learner.evaluate(images.validation)
    return [total.tolist() for total in losses] + [[t.read()[0].loss for t in tallies]]


@pytest.mark.parametrize("form", FUSED)
def test_trials_are_trained_as_one(form, device):
    found = crewed(DEVICE, form)
    check_discipline(device, "Crew.train_epoch", "Crew.store", "Crew.evaluate")
    assert device.replays == 2 * (90 // 15) - cuda_graph.WARM_UP
    with as_on_a_device():
        wanted = crewed(CPU, form)
    assert torch.tensor(found) == pytest.approx(torch.tensor(wanted), rel=1e-2)
