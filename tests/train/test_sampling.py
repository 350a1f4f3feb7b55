import dataclasses
import functools

import pytest
import torch

from tests import recipes
from tests.recipes import CPU, Curve, train
from tuner.errors import ConfigError
from tuner.train.data import dataset, sampling

COUNTS = [5, 40, 155]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
LABELS = LABELS[torch.randperm(200, generator=torch.Generator().manual_seed(7))]


def visits(seed: int = 0) -> torch.Tensor:
    return sampling.balanced(LABELS, 3, torch.Generator().manual_seed(seed))


def test_every_class_is_visited_equally_often():
    order = visits()
    assert len(order) == 200
    assert sorted(LABELS[order].bincount().tolist()) == [66, 67, 67]


def test_images_of_a_class_are_visited_equally_often_and_repeat_only_when_all_were():
    times = torch.bincount(visits(), minlength=200)
    assert times[LABELS == 0].min() >= 13
    assert times[LABELS == 0].max() <= 14
    assert set(times[LABELS == 1].tolist()) == {1, 2}
    assert set(times[LABELS == 2].tolist()) == {0, 1}


def test_batches_are_mixed_and_another_epoch_sees_others():
    first, second = visits(0), visits(1)
    assert torch.equal(first, visits(0))
    assert not torch.equal(first, second)
    parts = LABELS[first].view(5, 40)
    assert all(3 < (part == 0).sum() < 25 for part in parts)
    frequent = [set(order[LABELS[order] == 2].tolist()) for order in (first, second)]
    assert frequent[0] != frequent[1]


def test_over_epochs_every_image_of_a_frequent_class_is_seen():
    seen = torch.cat([visits(seed) for seed in range(12)]).unique()
    assert len(seen) == 200


def test_nothing_waits_for_the_device():
    with recipes.Waits() as waits:
        visits()
    assert waits.seen == []


def test_plain_order_is_a_permutation():
    order = sampling.shuffled(50, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() != list(range(50))


def test_numbers_cannot_be_balanced():
    sampling.check([3, 4])
    with pytest.raises(ConfigError, match=r"data\.balanced: true, but the targets are not classes"):
        sampling.check([])


def test_a_balanced_run_visits_a_rare_class_as_often_as_the_others(tmp_path, monkeypatch):
    """Digits without most of their zeros."""

    def rare(device: torch.device) -> dataset.Data:
        whole = recipes.digits(limit=None)
        zeros = whole.train.labels == 0
        kept = ~zeros | (zeros.cumsum(0) <= 8)
        split = dataset.Split(whole.train.images[kept], whole.train.labels[kept])
        return dataclasses.replace(whole, train=split, balanced=True)

    images, seen = rare(CPU), []
    balanced = sampling.balanced
    monkeypatch.setattr(
        sampling,
        "balanced",
        lambda labels, *rest: seen.append(labels[order := balanced(labels, *rest)]) or order,
    )
    train(tmp_path, Curve(), data=rare)
    assert len(seen) == 3
    for labels in seen:
        counts = labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= 1
        assert counts.sum() == len(images.train)


def test_balanced_is_a_key_of_the_data_and_changes_only_the_order(tmp_path):
    changed = functools.partial(
        dataset.digits, augment=recipes.AUGMENT, balanced=True, **recipes.DATA
    )
    plain, balanced = Curve(), Curve()
    train(tmp_path / "plain", plain)
    train(tmp_path / "balanced", balanced, data=changed)
    assert plain.points != balanced.points
    assert plain.points.keys() == balanced.points.keys()
