"""The simulated CUDA device detects every kind of fault that is planted in a step."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import fakecuda, recipes
from tests.fakecuda import as_on_a_device, fake_cuda
from tests.fakecuda.kernels import Kernels, Wait
from tests.fakecuda.placement import DEVICE, on_device
from tuner.train.data import dataset
from tuner.train.device import cuda_graph
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.optim import parameter_groups

pytestmark = fakecuda.needed

STEPS = 90 // 15
Fault = Callable[[Tensor, Tensor, Tensor], object]


class Planted(CrossEntropy):
    """A loss that does something more with logits [b, 10], labels [b] and its value."""

    def __init__(self, fault: Fault) -> None:
        super().__init__([1] * 10, **recipes.LOSS)
        self.fault = fault

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = super().forward(logits, labels)
        changed = self.fault(logits, labels, loss)
        return changed if isinstance(changed, Tensor) and changed.requires_grad else loss


@pytest.fixture
def device():
    with fake_cuda() as kernels:
        yield kernels


@dataclass
class Trained:
    learner: Learner
    losses: list[Tensor]

    @property
    def graph(self) -> object:
        return getattr(self.learner.make_step, "graph", None)


def train(
    fault: Fault, place: torch.device = DEVICE, *, epochs: int = 1, dropout: float = 0.0,
    rung: cuda_graph.Rung = "eager",
) -> Trained:  # fmt: skip
    """Trains with a fault; with the loss of each epoch of STEPS steps."""
    images = dataset.digits(place, augment=recipes.AUGMENT, **recipes.DATA | {"limit": 120})
    torch.manual_seed(0)
    network = recipes.network(dropout=dropout)(images.in_shape, 10)
    torch.manual_seed(0)  # of dropout on either device
    sgd = functools.partial(torch.optim.SGD, lr=0.1, fused=True)
    settings = recipes.settings(graph=rung, batch_size=15, precision="fp32")
    run = Learner(network, sgd, parameter_groups.constant, Planted(fault), images, settings)
    numbers = range(1, epochs + 1)
    generators = {n: torch.Generator(place).manual_seed(n) for n in numbers}
    return Trained(run, [run.train_epoch(images.train, n, generators[n]) for n in numbers])


def waits(device: Kernels) -> list[Wait]:
    return [wait for wait in device.waits if "Learner.train_epoch" in wait.callers]


def test_nothing_is_found_where_there_is_nothing(device):
    run = train(lambda logits, labels, loss: loss * torch.ones(()))  # which is taken as a number
    assert on_device(run.losses[0])
    assert (waits(device), device.races) == ([], [])


class ReadsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * gradient.item()


def an_event(*_: Tensor) -> None:
    event = torch.cuda.Event()
    event.record()
    event.synchronize()


WAITING: dict[str, tuple[Fault, str]] = {
    "item": (lambda logits, labels, loss: loss * loss.item(), "_local_scalar_dense"),
    "a condition": (lambda logits, labels, loss: loss if loss > 0 else -loss, "_local_scalar"),
    "in the backward": (lambda logits, labels, loss: ReadsInBackward.apply(loss), "_local_scalar"),
    "tolist": (lambda logits, labels, loss: loss * labels.tolist()[0], "tolist"),
    "cpu": (lambda logits, labels, loss: loss.detach().cpu(), "a copy from the device"),
    "copy_": (lambda logits, *_: torch.empty(15, 10).copy_(logits.detach()), "a copy from"),
    "to": (lambda logits, *_: (logits * torch.ones(10).to(logits.device)).sum(), "a copy to the"),
    "pageable": (
        lambda logits, *_: (logits * torch.ones(10).to(DEVICE, non_blocking=True)).sum(), "pageable"
    ),
    "a new tensor": (lambda logits, *_: logits.sum() * torch.tensor(0.5, device=DEVICE), "values"),
    "a mask": (lambda logits, labels, loss: logits[labels > 3].sum(), "a boolean mask"),
    "masked_select": (lambda logits, *_: logits.masked_select(logits > 0).sum(), "masked_select"),
    "nonzero": (lambda logits, labels, loss: loss * len(labels.nonzero()), "nonzero"),
    "unique": (lambda logits, labels, loss: loss * len(labels.unique()), "_unique2"),
    "bincount": (lambda logits, labels, loss: loss * len(labels.bincount()), "bincount"),
    "repeats": (lambda _, labels, loss: loss * len(labels.repeat_interleave(labels)), "repeat_int"),
    "an index": (lambda logits, *_: logits[torch.tensor([0, 1])].sum(), "an index on the host"),
    "a stream": (lambda *_: torch.cuda.current_stream().synchronize(), "a stream"),
    "an event": (an_event, "an event"),
    "the device": (lambda *_: torch.cuda.synchronize(), "the device"),
}  # fmt: skip


@pytest.mark.parametrize("name", WAITING)
def test_a_wait_in_a_step_is_found(name, device):
    fault, what = WAITING[name]
    train(fault)
    found = [wait for wait in waits(device) if what in wait.what]
    assert len(found) >= STEPS, "one a step"
    assert all("Learner.step" in wait.callers for wait in found)


REFUSED: dict[str, tuple[Fault, type[Exception], str]] = {
    "a tensor of the host's": (
        lambda logits, *_: (logits * torch.ones(10)).sum(), RuntimeError, "same device"
    ),
    "numpy": (lambda logits, *_: logits.detach().numpy().sum(), TypeError, "to numpy"),
    "a generator of the host's": (
        lambda logits, *_: logits.detach().uniform_(generator=torch.Generator()),
        RuntimeError, "a generator of the device",
    ),
    "a stack of both": (
        lambda logits, labels, loss: torch.stack([loss, torch.ones(())]).sum(),
        RuntimeError, "same device",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_raises(name, device):
    fault, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        train(fault)


def unordered(logits: Tensor, labels: Tensor, loss: Tensor) -> None:
    with torch.cuda.stream(torch.cuda.Stream()):
        logits.sum()


def read_early(logits: Tensor, labels: Tensor, loss: Tensor) -> None:
    host = torch.empty(loss.shape, pin_memory=True).copy_(loss.detach(), non_blocking=True)
    host.clone()


@pytest.mark.parametrize("fault", [unordered, read_early])
def test_what_is_read_before_it_is_surely_written_is_found(fault, device):
    train(fault)
    assert len(device.races) >= STEPS
    assert waits(device) == []


def ordered(logits: Tensor, labels: Tensor, loss: Tensor) -> None:
    side, event = torch.cuda.Stream(), torch.cuda.Event()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        logits.sum()
        host = torch.empty(loss.shape, pin_memory=True).copy_(loss.detach(), non_blocking=True)
        event.record()
    event.synchronize()
    host.clone()


def test_what_is_waited_for_is_no_race(device):
    train(ordered)
    assert device.races == []


def captured(fault: Fault, **changes: float) -> tuple[Trained, list[float], list[float]]:
    """Losses of two epochs with a captured step, and those on the CPU."""
    run = train(fault, epochs=2, rung="graph", **changes)
    with as_on_a_device():
        wanted = train(fault, recipes.CPU, epochs=2, **changes)
    return run, [loss.item() for loss in run.losses], [loss.item() for loss in wanted.losses]


def test_a_captured_step_does_again_what_the_step_does(device):
    """Its masks of dropout are new ones, and what it was captured with is undone."""
    run, found, wanted = captured(lambda *_: None, dropout=0.3)
    assert run.graph is not None
    assert device.replays == 2 * STEPS - cuda_graph.WARM_UP
    assert found == pytest.approx(wanted, rel=1e-5)


class Counting:
    """Weighs the loss by a number that the host counts up."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        self.calls += 1
        return loss * self.calls


def test_a_number_that_the_host_changes_is_frozen_in_a_captured_step(device):
    found = train(Counting(), epochs=2, rung="graph").losses[1].item()
    changing = train(Counting(), recipes.CPU, epochs=2).losses[1].item()
    assert found < 0.5 * changing


def waits_while_capturing(*_: Tensor) -> None:
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (waits_while_capturing, "capturing failed: CUDA error"),
        (WAITING["item"][0], "a step waits for the device"),
        (lambda logits, labels, loss: loss * torch.rand(()), "random numbers on the host"),
    ],
    ids=["spoils the capture", "waits", "draws on the host"],
)
def test_a_step_that_cannot_be_captured_goes_on_eagerly_to_the_same_end(
    fault, said, device, caplog
):
    before = torch.cuda.current_stream()
    run, found, wanted = captured(fault)
    assert re.search(said, caplog.text)
    assert (run.graph, device.replays, device.races) == (None, 0, [])
    assert found == pytest.approx(wanted, rel=1e-5)
    assert torch.cuda.current_stream() is before


def test_torch_is_as_it_was_when_the_device_is_gone():
    def now() -> list[Any]:
        return [functools.reduce(getattr, name.split("."), torch) for name in names]

    names = fakecuda.stand_ins(Kernels())
    before = now()
    with fake_cuda():
        assert all(value is not there for value, there in zip(now(), before, strict=True))
    assert now() == before
