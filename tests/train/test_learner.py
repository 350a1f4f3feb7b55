import dataclasses
import functools

import pytest
import torch

from tests import recipes
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.device import hardware
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy, Focal, MeanSquaredError
from tuner.train.optim import parameter_groups
from tuner.train.optim.lion import Lion

OPTIMIZERS = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adam": functools.partial(torch.optim.Adam, lr=0.01, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, foreach=True),
    "lion": functools.partial(Lion, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1),
}


def learner(images=None, optimizer="adamw", loss=None, **changes) -> Learner:
    images = images or recipes.digits()
    network = recipes.network()(images.in_shape, 10)
    loss = loss or CrossEntropy([1] * 10, **recipes.LOSS | {"l1": 1e-4, "l2": 1e-4})
    schedule = functools.partial(parameter_groups.cosine, final=0.0)
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
    images = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
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
    numbered = dataset.Split(images.train.images, torch.arange(225))
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
    expected = [0.01 * parameter_groups.cosine(step / 6, final=0.0) for step in range(6)]
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


def test_a_cpu_evaluates_in_portions(monkeypatch):
    images = recipes.digits()
    run, seen = learner(images, eval_batch_size=1000), []
    run.network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr(run.feed, "portion", lambda size: size // 20)
    run.evaluate(images.validation)
    assert seen == [50, 25]


def test_convolutions_work_on_channels_last_memory():
    run = learner()
    kernel = run.network.get_submodule("block2.0").weight
    batch = run.data.normalise(run.data.train.images[:2])
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert batch.is_contiguous(memory_format=torch.channels_last)


EVERYTHING = {"ema": 0.9, "clip": 1.0, "accumulate": 2, "tta": True}


def elaborate(device: torch.device, optimizer: str = "adamw") -> Learner:
    """A learner with all that may be switched on, where nothing may wait either."""
    augment = dataclasses.replace(recipes.AUGMENT, mixup=0.2, cutmix=1.0, border="reflect")
    images = dataset.digits(device, augment=augment, balanced=True, **recipes.DATA)
    network = recipes.network(block="residual", drop_path=0.2, squeeze=4)(images.in_shape, 10)
    loss = Focal(images.counts(images.train), gamma=2.0, class_weights="balanced", l1=1e-4, l2=1e-4)
    schedule = functools.partial(
        parameter_groups.restarts, cycles=2, stretch=2.0, final=0.0, warmup=0.1
    )
    settings = recipes.settings(**EVERYTHING)
    return Learner(network, OPTIMIZERS[optimizer], schedule, loss, images, settings, metric="auroc")


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_an_epoch_with_everything_on_waits_no_more(optimizer):
    run = elaborate(recipes.CPU, optimizer)
    with recipes.Waits() as waits:
        run.train_epoch(run.data.train, 1, torch.Generator())
        tally = run.evaluate(run.data.validation)
        assert waits.seen == []
    assert 0 < tally.read()[0].auroc < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_an_epoch_with_everything_on_never_synchronises_the_gpu(optimizer):
    device = torch.device("cuda")
    run = elaborate(device, optimizer)
    run.train_epoch(run.data.train, 1, torch.Generator(device))
    run.evaluate(run.data.validation)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.train_epoch(run.data.train, 2, torch.Generator(device))
        run.evaluate(run.data.validation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(run.total)


def plain(**changes) -> Learner:
    """Steps of SGD by the gradient alone: no norm, no dropout, no momentum, no penalty."""
    images = recipes.digits(Augment())
    torch.manual_seed(0)
    network = recipes.network(batch_norm=False, dropout=0.0)(images.in_shape, 10)
    loss = CrossEntropy([1] * 10, **recipes.LOSS)
    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    return Learner(
        network, sgd, parameter_groups.constant, loss, images, recipes.settings(**changes)
    )


def moved(**changes) -> torch.Tensor:
    """By how much one step on 31 images moves all the weights."""
    run = plain(**changes)
    before = torch.cat([p.detach().flatten() for p in run.network.parameters()])
    images = run.data.normalise(run.data.train.images[:31])
    run.step(images, run.data.train.labels[:31])
    return torch.cat([p.detach().flatten() for p in run.network.parameters()]) - before


def test_a_batch_in_parts_makes_the_step_of_the_whole():
    whole = moved()
    for parts in (2, 3, 31, 1000):
        torch.testing.assert_close(moved(accumulate=parts), whole, rtol=1e-4, atol=1e-6)


def test_a_long_gradient_is_cut_to_the_limit_and_a_short_one_left_alone():
    free = moved()
    assert free.norm() > 0.1
    torch.testing.assert_close(moved(clip=0.1), free * (0.1 / free.norm()), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved(clip=100.0), free)


def test_test_time_augmentation_scores_the_mean_over_views():
    images = recipes.digits(Augment(shift=1, flip=True))
    run = learner(images, tta=True)
    scores, _ = run.evaluate(images.validation).read()
    pixels = images.normalise(images.validation.images)
    with torch.no_grad():
        views = [run.network.eval()(view) for view in images.augment.views(pixels)]
    assert len(views) == 6
    logits = torch.stack(views).mean(0)
    guesses, labels = logits.argmax(1), images.validation.labels
    assert scores.accuracy == pytest.approx((guesses == labels).float().mean().item())
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert scores.loss == pytest.approx(loss, rel=1e-5)


def test_the_average_follows_every_step():
    run = learner(ema=0.5)
    seen = []
    run.average.update = seen.append
    for epoch in (1, 2):
        run.train_epoch(run.data.train, epoch, torch.Generator())
    assert seen == list(range(14))


@pytest.mark.parametrize(
    "mix", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]
)
@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy([1] * 10, **recipes.LOSS | {"class_weights": [0.0, *range(1, 10)]}),
        Focal([1] * 10, gamma=2.0, class_weights=[*range(1, 11)], l1=0.0, l2=0.0),
        MeanSquaredError([1] * 10, l1=0.0, l2=0.0),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_parts_of_a_batch_add_up_to_the_whole(loss, mix):
    """To rounding, with the weights of classes, partners across parts, and a last smaller part."""
    images = recipes.digits(augment=Augment(**mix))
    found = []
    for parts in (1, 3, 5):
        torch.manual_seed(0)
        network = recipes.network(batch_norm=False, dropout=0.0)(images.in_shape, 10)
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        settings = recipes.settings(accumulate=parts, clip=1.0)
        run = Learner(network, sgd, parameter_groups.constant, loss, images, settings)
        run.train_epoch(images.train, 1, torch.Generator().manual_seed(0))
        found.append([run.total, *run.network.parameters()])
    for other in found[1:]:
        for mine, whole in zip(other, found[0], strict=True):
            torch.testing.assert_close(mine, whole, rtol=1e-4, atol=1e-5)
