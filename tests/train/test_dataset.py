import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tests import recipes
from tests.recipes import CPU
from tuner.errors import ConfigError
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.data.tensors import Arrays


def numbered(count: int) -> Arrays:
    """Images that carry their own number in two pixels, so that they can be told apart."""
    images = np.zeros((count, 1, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(count), 256)
    return Arrays(images, np.arange(count) % 5, tuple("abcde"))


def numbers(split: dataset.Split) -> set[int]:
    return {int(high) * 256 + int(low) for high, low in split.images.view(-1, 2)}


def test_the_three_splits_share_no_image():
    pool, test = numbered(800), numbered(1000)[np.arange(800, 1000)]
    placed = dataset.place(pool, test, CPU, validation=0.25, split_seed=0, limit=None)
    train, validation = numbers(placed.train), numbers(placed.validation)
    assert not train & validation
    assert train | validation == set(range(800))
    assert numbers(placed.test) == set(range(800, 1000))
    assert placed.counts(placed.train) == [120] * 5
    assert placed.counts(placed.validation) == [40] * 5


def test_a_limit_keeps_proportions_and_the_whole_test_split():
    placed = dataset.place(
        numbered(800), numbered(100), CPU, validation=0.2, split_seed=0, limit=100
    )
    assert placed.counts(placed.train) == [16] * 5
    assert placed.counts(placed.validation) == [4] * 5
    assert len(placed.test) == 100


def test_digits_are_whole_and_normalised():
    digits = recipes.digits(limit=None)
    assert [len(digits.train), len(digits.validation), len(digits.test)] == [1077, 360, 360]
    assert digits.in_shape == (1, 8, 8)
    assert digits.train.images.max() == 255
    pixels = digits.normalise(digits.train.images)
    assert pixels.shape == (1077, 1, 8, 8)
    assert pixels.mean().item() == pytest.approx(0, abs=1e-4)
    assert pixels.std().item() == pytest.approx(1, abs=1e-4)


def test_the_digits_are_those_of_scikit_learn():
    digits = recipes.digits(limit=None)
    expected = load_digits()
    images = np.concatenate(
        [s.images.numpy() for s in (digits.train, digits.validation, digits.test)]
    )
    labels = np.concatenate(
        [s.labels.numpy() for s in (digits.train, digits.validation, digits.test)]
    )
    found = sorted(zip(labels.tolist(), images.reshape(-1, 64).tolist(), strict=True))
    pixels = (expected.data * (255 / 16)).round().tolist()
    assert found == sorted(zip(expected.target.tolist(), pixels, strict=True))


def test_the_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(monkeypatch):
    read = inspect.unwrap(dataset.digits)
    expected = read().pool
    elsewhere = SimpleNamespace(origin="/nowhere/sklearn/__init__.py")
    monkeypatch.setattr(dataset.importlib.util, "find_spec", lambda _: elsewhere)
    found = read().pool
    assert np.array_equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)


def test_the_normalisation_is_the_training_splits_alone():
    pool, test = numbered(200), numbered(200)
    loud = Arrays(np.full_like(test.images, 255), test.labels, test.classes)
    means = [dataset.place(pool, t, CPU, 0.2, 0, None).mean for t in (test, loud)]
    assert torch.equal(*means)


def test_later_trials_find_the_images_on_the_device():
    first = recipes.digits(Augment(shift=1))
    second = recipes.digits(Augment(flip=True))
    assert first.train.images is second.train.images
    assert first.augment != second.augment
    assert recipes.digits(split_seed=1).train.images is not first.train.images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": 1.5}, r"data\.validation: expected float above 0 to below 1, got 1\.5"),
        ({"test": 0.0}, r"data\.test: expected float above 0 to below 1, got 0\.0"),
        ({"limit": 4}, r"data\.limit: 4 cannot split 1437 .*10.*hint"),
        ({"limit": 11}, r"data\.validation: 0\.25 cannot split 11 "),
    ],
)
def test_impossible_splits_name_their_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        recipes.digits(**changes)
