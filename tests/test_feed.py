import dataclasses
import logging

import pytest
import torch

from tests import recipes
from tests.recipes import CPU, Curve, train
from tuner.train import data, feed, hardware
from tuner.train.feed import Feed


def batches(images: data.Data, size=32, start=0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = hardware.reseed(1, 1, images.mean.device)
    order = torch.randperm(len(images.train), generator=generator, device=generator.device)
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


def streamed(images: data.Data) -> data.Data:
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
        data._digits.cache_clear()
        monkeypatch.setattr(hardware, "free_bytes", lambda device, free=free: free)
        with caplog.at_level(logging.INFO, "tuner"):
            assert recipes.digits().train.streamed is streams
        assert ("streamed to it from pinned memory" in caplog.text) is streams
    train(tmp_path / "streamed", limited)
    data._digits.cache_clear()
    assert limited.points == resident.points


def test_a_cpu_has_nowhere_else_to_put_them():
    assert hardware.free_bytes(CPU) == float("inf")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_fed_from_pinned_memory(monkeypatch):
    device = torch.device("cuda")
    data._digits.cache_clear()
    resident = data.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 0)
    data._digits.cache_clear()
    pinned = data.digits(device, augment=recipes.AUGMENT, **recipes.DATA)
    data._digits.cache_clear()
    assert pinned.train.images.is_pinned()
    assert resident.train.images.is_cuda
    monkeypatch.setitem(feed.CHUNK, "accelerator", 2 * 32 * 64)
    assert same(batches(pinned), batches(resident))
