import functools

import pytest
import torch

from tests import recipes
from tuner.train import data, hardware, optim
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy

OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adam": functools.partial(torch.optim.Adam, lr=0.01, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, foreach=True),
}


def learner(images=None, optimizer="adamw", loss=None, **changes) -> Learner:
    images = images or recipes.digits()
    network = recipes.network()(images.in_shape, 10)
    loss = loss or CrossEntropy([1] * 10, **recipes.LOSS | {"l1": 1e-4, "l2": 1e-4})
    schedule = functools.partial(optim.cosine, final=0.0)
    settings = recipes.settings(**changes)
    return Learner(network, OPTIMIZERS[optimizer], schedule, loss, images, settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_epoch_waits_for_the_device_once(optimizer):
    images = recipes.digits()
    run = learner(images, optimizer)
    with recipes.Waits() as waits:
        loss = run.train_epoch(images.train, 1, torch.Generator())
        tally = run.evaluate(images.validation)
        assert waits.seen == []
        tally.read(loss)
    assert waits.seen == ["tolist"]


@pytest.mark.parametrize("wait", ["item", "tolist", "nonzero", "numpy", "__bool__"])
def test_a_wait_inside_a_step_would_be_seen(wait):
    class Curious(CrossEntropy):
        def forward(self, logits, labels):
            loss = super().forward(logits, labels)
            getattr(loss.detach(), wait)()
            return loss

    images = recipes.digits()
    run = learner(images, loss=Curious([1] * 10, **recipes.LOSS))
    with recipes.Waits() as waits:
        run.train_epoch(images.train, 1, torch.Generator())
    assert len(waits.seen) >= 225 // 32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_epoch_never_synchronises_the_gpu():
    device = torch.device("cuda")
    images = data.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    run = learner(images)
    run.train_epoch(images.train, 1, torch.Generator(device))  # warm-up: handles, workspaces
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.train_epoch(images.train, 2, torch.Generator(device))
        run.evaluate(images.validation)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_every_image_is_seen_at_most_once_an_epoch_and_in_another_order_the_next():
    seen = []
    images = recipes.digits()
    run = learner(images, batch_size=32)
    numbered = data.Split(images.train.images, torch.arange(225))
    run.step = lambda images, labels: seen.append(labels)
    for epoch in (1, 2):
        run.train_epoch(numbered, epoch, hardware.reseed(0, epoch, recipes.CPU))
    first, second = torch.cat(seen[:7]), torch.cat(seen[7:])
    assert len(seen) == 2 * (225 // 32)
    assert {len(index) for index in seen} == {32}, "every step has the same shape"
    assert len(first.unique()) == len(first) == 7 * 32
    assert not torch.equal(first, second)


def test_a_batch_larger_than_the_split_is_the_split():
    images = recipes.digits()
    run = learner(images, batch_size=10_000)
    assert torch.isfinite(run.train_epoch(images.train, 1, torch.Generator()))


def test_the_learning_rate_follows_the_schedule_over_the_whole_run():
    rates = []
    images = recipes.digits()
    run = learner(images, epochs=2, batch_size=75)
    run.step = lambda *_: rates.append(run.optimizer.param_groups[0]["lr"])
    for epoch in (1, 2):
        run.train_epoch(images.train, epoch, torch.Generator())
    expected = [0.01 * optim.cosine(step / 6, final=0.0) for step in range(6)]
    assert rates == pytest.approx(expected)


def test_evaluation_does_not_depend_on_its_batch_size():
    images = recipes.digits()
    torch.manual_seed(0)
    run = learner(images, eval_batch_size=7)
    small, _ = run.evaluate(images.validation).read()
    run.settings = recipes.settings(eval_batch_size=1000)
    large, _ = run.evaluate(images.validation).read()
    assert small.confusion == large.confusion
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    assert sum(map(sum, small.confusion)) == len(images.validation)


def test_convolutions_work_on_channels_last_memory():
    run = learner()
    kernel = run.network.get_submodule("block2.0").weight
    batch = run.data.normalise(run.data.train.images[:2])
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert batch.is_contiguous(memory_format=torch.channels_last)
