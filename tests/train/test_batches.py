import dataclasses
import functools
import logging
import types
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tests import recipes
from tests.recipes import CPU, Curve, train
from tuner.train.data import batches as feed
from tuner.train.data import dataset, sampling
from tuner.train.data.batches import Feed
from tuner.train.data.tensors import Arrays
from tuner.train.device import hardware
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.optim import parameter_groups


def batches(images: dataset.Data, size=32, start=0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = hardware.reseed(1, 1, images.mean.device)
    order = sampling.shuffled(len(images.train), hardware.host_generator(generator))
    draws = images.augment.draw(len(order), images.in_shape[1:], generator)
    return list(Feed(images).epoch(images.train, order, draws, size, start))


def same(left, right) -> bool:
    pairs = [(a, b) for mine, theirs in zip(left, right, strict=True)
             for a, b in zip(mine, theirs, strict=True)]  # fmt: skip
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("pixels", [1, 2 * 32 * 64, 3 * 32 * 64 + 1, 2**30])
def test_batches_are_the_same_however_many_are_made_at_once(monkeypatch, pixels):
    images = recipes.digits()
    expected = batches(images)
    assert [len(labels) for _, labels in expected] == [32] * (225 // 32)
    monkeypatch.setitem(feed.CHUNK, "cpu", pixels)
    assert same(batches(images), expected)
    assert same(batches(images, start=3), expected[3:])


def learner(images: dataset.Data) -> Learner:
    network = recipes.network()(images.in_shape, 10)
    adamw = functools.partial(torch.optim.AdamW, lr=0.01, fused=True)
    loss = CrossEntropy([1] * 10, **recipes.LOSS)
    return Learner(network, adamw, parameter_groups.constant, loss, images, recipes.settings())


def streamed(images: dataset.Data) -> dataset.Data:
    parts = {name: dataclasses.replace(getattr(images, name), streamed=True)
             for name in ("train", "validation", "test")}  # fmt: skip
    return dataclasses.replace(images, **parts)


def test_a_cpu_evaluates_no_more_at_once_than_pays(monkeypatch):
    images = recipes.digits()
    monkeypatch.setattr(feed, "WHOLE_ON_CPU", 20 * 64 + 1)
    assert Feed(images).portion(1024) == 20
    assert Feed(images).portion(8) == 8
    monkeypatch.setattr(feed, "WHOLE_ON_CPU", 1)
    assert Feed(images).portion(1024) == 1


def test_streamed_images_are_those_that_lie_on_the_device():
    images = recipes.digits()
    assert same(batches(streamed(images), start=2), batches(images, start=2))
    held_out = [list(Feed(x).whole(x.validation, 16)) for x in (images, streamed(images))]
    assert same(*held_out)
    both = streamed(images).train + streamed(images).validation
    assert both.streamed
    assert len(both) == 300


def test_what_exceeds_half_of_the_free_memory_is_streamed_and_the_log_says_so(
    monkeypatch, caplog, tmp_path
):
    resident, limited = Curve(), Curve()
    train(tmp_path / "resident", resident)
    wanted = 1797 * 64 - (1437 - 300) * 64  # bytes: the pool is limited, the test split is not
    for free, streams in ((2 * wanted, False), (2 * wanted - 2, True)):
        dataset.digits.cache_clear()
        monkeypatch.setattr(hardware, "free_bytes", lambda device, free=free: free)
        with caplog.at_level(logging.INFO, "tuner"):
            assert recipes.digits().train.streamed is streams
        assert ("streamed to it from main memory" in caplog.text) is streams
    train(tmp_path / "streamed", limited)
    dataset.digits.cache_clear()
    assert limited.points == resident.points


def test_an_epoch_of_streamed_images_waits_for_nothing():
    images = streamed(recipes.digits())
    run = learner(images)
    with recipes.Waits() as waits:
        run.train_epoch(images.train, 1, torch.Generator())
    assert waits.seen == []


def test_the_order_is_the_same_on_every_device():
    """A generator of a GPU gives its seed alone; it is not asked for numbers on the host."""
    images = recipes.digits()
    gpu = types.SimpleNamespace(device=torch.device("cuda", 0), initial_seed=lambda: 7)
    for data_ in (images, dataclasses.replace(images, balanced=True)):
        run = learner(data_)
        expected = run.order(images.train, torch.Generator().manual_seed(7))
        assert torch.equal(run.order(images.train, gpu), expected)


@pytest.fixture
def pinned(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what is pinned for a GPU that is not there: the tensors stay where they are."""
    shapes = []

    def pin(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream())
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    return shapes


def stream():
    return types.SimpleNamespace(wait_stream=lambda other: None)


def test_of_streamed_images_no_more_is_pinned_than_is_on_its_way(pinned):
    gpu = torch.device("cuda", 0)
    black = Arrays(np.zeros((40, 8, 8, 1), np.uint8), np.arange(40), ())
    split = dataset._split(black, gpu, streamed=True)
    assert len(split + split) == 80
    assert pinned == []
    images = dataclasses.replace(recipes.digits(), train=split)
    fed = Feed(images)
    fed.device, fed.stream = gpu, stream()
    assert [len(labels) for _, labels in fed.whole(split, 16)] == [16, 16, 8]
    assert pinned == [(16, 8, 8, 1), (16, 8, 8, 1), (8, 8, 8, 1)]


def test_a_cpu_has_nowhere_else_to_put_them():
    assert hardware.free_bytes(CPU) == float("inf")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_fed_from_pinned_memory(monkeypatch):
    device = torch.device("cuda")
    dataset.digits.cache_clear()
    resident = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 0)
    dataset.digits.cache_clear()
    pinned = dataset.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    dataset.digits.cache_clear()
    assert not pinned.train.images.is_pinned(), "a second copy of the data set"
    assert resident.train.images.is_cuda
    monkeypatch.setitem(feed.CHUNK, "accelerator", 2 * 32 * 64)
    assert same(batches(pinned), batches(resident))
