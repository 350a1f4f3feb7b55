"""A failing capture of a step fails no trial and leaves the process as it was."""

import logging

import pytest
import torch
from torch import nn

from tests.gpu import OPTIMIZERS, PLACES, curve, exact, learner, needs_gpu
from tuner.train.device import cuda_graph
from tuner.train.model.fine_tuning import Staged
from tuner.worker import failures

LIMIT, HOG = 4 << 30, 8 << 30
"""Bytes that the process may take, and more than that."""


class WhileCapturing(nn.Module):
    """Does what the warm-up cannot see: it does it only while a step is recorded."""

    def __init__(self, deed) -> None:
        super().__init__()
        self.deed = deed

    def forward(self, images):
        if images.is_cuda and torch.cuda.is_current_stream_capturing():
            self.deed(images)
        return images


DEEDS = {
    "waits": lambda _: torch.cuda.synchronize(),
    "reads": lambda images: images.sum().item(),
}
"""What CUDA refuses to record: the capture is invalid from there on."""


def network(deed) -> nn.Sequential:
    return nn.Sequential(WhileCapturing(deed), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10))


def stream(place: str) -> object:
    return torch.cuda.current_stream() if place.startswith("cuda") else None


def check_captures(place: str) -> None:
    """A learner captures its step, and learns as an eager one."""
    expected = curve(learner(place, graph="eager"))
    captured = learner(place, graph="graph")
    assert curve(captured) == pytest.approx(expected, rel=2e-3)
    if place.startswith("cuda"):
        assert captured.make_step.graph is not None, captured.make_step.obstacle


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@exact()
def test_what_is_freed_is_captured_anew(place, optimizer):
    """The step of an epoch that unfreezes a stage is another one than was recorded."""

    class Tower(Staged):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
            stages = [[self.base], [self.head]]
            self.set_stages(stages, freeze=1, unfreeze_epoch=3, layer_decay=1.0)

        def forward(self, images):
            return self.head(self.base(images))

    def tower(rung: str):
        torch.manual_seed(0)
        return learner(place, Tower(), optimizer, graph=rung)

    expected = curve(tower("eager"))
    run = tower("graph")
    kernel = run.network.base[0].weight
    begun = kernel.detach().clone()
    losses = curve(run, range(1, 3))
    first = run.make_step
    assert torch.equal(kernel, begun), "frozen"
    losses += curve(run, range(3, 5))
    assert not torch.equal(kernel, begun), "freed"
    assert losses == pytest.approx(expected, rel=2e-3)
    if place.startswith("cuda"):
        assert isinstance(first, cuda_graph.Capture)
        assert run.make_step is not first
        assert run.make_step.graph is not None, run.make_step.obstacle


@needs_gpu
@exact()
def test_a_capture_that_runs_out_of_memory_goes_on_eagerly_and_the_next_one_works(caplog):
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, LIMIT / total))
    try:
        run = learner(
            "cuda:0",
            network(lambda images: torch.empty(HOG, dtype=torch.uint8, device=images.device)),
            graph="graph",
        )
        before = stream("cuda:0")
        with caplog.at_level(logging.WARNING, "tuner"):
            losses = curve(run)
        assert losses[-1] < losses[0]
        assert run.make_step.graph is None
        assert "out of memory" in caplog.text
        assert stream("cuda:0") == before
        check_captures("cuda:0")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", DEEDS)
@exact()
def test_a_capture_that_is_invalidated_leaves_the_process_sound(place, deed, caplog):
    """Or the process asks for another one; last in the file, for it may spoil this one."""
    before = stream(place)
    run = learner(place, network(DEEDS[deed]), graph="graph")
    try:
        with caplog.at_level(logging.WARNING, "tuner"):
            losses = curve(run)
    except RuntimeError as error:
        if not failures.is_broken_device(error):
            raise
        pytest.skip(f"a worker starts a new process: {error}")
    assert losses[-1] < losses[0], "the trial goes on, with dropout"
    assert stream(place) == before
    if place.startswith("cuda"):
        assert run.make_step.graph is None
        assert "capturing failed" in caplog.text
        torch.cuda.empty_cache()
    check_captures(place)
