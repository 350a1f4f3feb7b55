import functools

import pytest
import torch
import torch.nn.functional as F

from tests import recipes
from tests.recipes import Curve, train
from tuner.errors import ConfigError
from tuner.train.data import dataset, mixup
from tuner.train.data.augment import Augment

BATCH = torch.rand(6, 3, 8, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def rows(count: int = 4000, **alphas: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return mixup.draw_rows(Augment(**alphas), count, (8, 10), generator)


def test_without_an_alpha_nothing_is_drawn_or_mixed():
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert mixup.draw(Augment(shift=2), 3, (8, 10), generator) == [(), (), ()]
    assert torch.equal(before, generator.get_state())


def test_a_whole_number_is_an_alpha_like_any_other():
    for name in ("mixup", "cutmix"):
        assert torch.equal(rows(20, **{name: 1}), rows(20, **{name: 1.0}))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_shares_are_beta_distributed_one_for_each_batch(alpha):
    share = rows(mixup=alpha)[:, 0]
    beta = torch.distributions.Beta(alpha, alpha)
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert share.var().item() == pytest.approx(beta.variance.item(), rel=0.08)
    assert len(share.unique()) > 3000


def test_mixup_is_its_formula_with_a_partner_for_each_image():
    row = rows(mixup=1.0)[0]
    images, share = mixup.blend(BATCH, mixup.before(BATCH), row)
    assert share == row[0]
    for i in range(6):
        expected = row[0] * BATCH[i] + (1 - row[0]) * BATCH[i - 1]
        torch.testing.assert_close(images[i], expected)


def test_cutmix_pastes_a_box_and_its_share_is_the_area_that_is_left():
    for row in rows(50, cutmix=1.0):
        images, share = mixup.blend(BATCH, mixup.before(BATCH), row)
        top, bottom, left, right = (int(edge) for edge in row[1:])
        expected = BATCH.clone()
        expected[:, :, top:bottom, left:right] = BATCH.roll(1, 0)[:, :, top:bottom, left:right]
        assert torch.equal(images, expected)
        assert share.item() == pytest.approx(1 - (bottom - top) * (right - left) / 80)


def test_cutmix_boxes_have_the_area_of_their_share_before_they_are_cut_off():
    edges = mixup._boxes(torch.full((4000,), 0.75), (80, 100), torch.Generator().manual_seed(0))
    height, width = edges[:, 2] - edges[:, 1], edges[:, 4] - edges[:, 3]
    assert height.max().item() == pytest.approx(40, abs=1)
    assert width.max().item() == pytest.approx(50, abs=1)
    assert ((height * width).max() / 8000).item() == pytest.approx(0.25, abs=0.01)
    assert (edges[:, 1:3] >= 0).all()
    assert (edges[:, 2] <= 80).all()
    assert (edges[:, 4] <= 100).all()


def test_with_both_a_coin_decides_for_each_batch():
    drawn = rows(mixup=0.4, cutmix=1.0)
    boxes = drawn[:, 2] > drawn[:, 1]
    assert 0.4 < boxes.float().mean() < 0.55  # some boxes are empty
    assert (drawn[boxes, 0] == 1).all()
    assert (drawn[~boxes, 0] < 1).float().mean() > 0.9


def test_labels_keep_their_mass():
    """The blended loss is cross-entropy against the two labels in their shares, which make 1."""
    logits = torch.randn(6, 5)
    share = torch.tensor(0.3)
    targets = 0.3 * F.one_hot(LABELS, 5) + 0.7 * F.one_hot(LABELS.roll(1), 5)
    assert targets.sum(1).tolist() == pytest.approx([1] * 6)
    blended = mixup.blended(F.cross_entropy, logits, LABELS, LABELS.roll(1, 0), share)
    torch.testing.assert_close(blended, F.cross_entropy(logits, targets))


@pytest.mark.parametrize("augment", [Augment(mixup=0.4), Augment(mixup=0.4, cutmix=1.0, shift=1)])
def test_a_mixed_run_learns_and_resumes_to_the_same_bits(tmp_path, augment):
    change = {"data": functools.partial(dataset.digits, augment=augment, **recipes.DATA)}
    whole, before, after = Curve(), Curve(leave_in=2), Curve()
    train(tmp_path / "whole", whole, **change)
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    train(tmp_path / "killed", after, **change)
    assert before.points | after.points == whole.points
    plain = Curve()
    train(tmp_path / "plain", plain)
    assert whole.points[3]["train_loss"] != plain.points[3]["train_loss"]


@pytest.mark.parametrize("name", ["mixup", "cutmix", "shift", "cutout"])
def test_a_negative_setting_is_named(name):
    with pytest.raises(ConfigError, match=rf"data\.augment\.{name}: .*got -1"):
        Augment(**{name: -1})
