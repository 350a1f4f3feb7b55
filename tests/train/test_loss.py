import math

import pytest
import torch
from torch import nn

from tests.recipes import LOSS
from tuner.errors import ConfigError
from tuner.train.fused import losses
from tuner.train.loss import AbsoluteError, CrossEntropy, Focal, Huber, Loss, MeanSquaredError

torch.manual_seed(0)
LOGITS = torch.randn(8, 3, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2])


def smoothed(smoothing: float, weight: list[float]) -> float:
    """Σ w·target·(-log softmax) / Σ w of the labels; Szegedy 2016, with class weights."""
    total = weights = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        norm = math.log(sum(map(math.exp, row)))
        for k, logit in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / 3
            total += weight[k] * target * (norm - logit)
        weights += weight[label]
    return total / weights


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("class_weights", "used"),
    [(None, [1, 1, 1]), ([1, 2, 0.5], [1, 2, 0.5]), ("balanced", [6 / 3, 6 / 6, 6 / 9])],
)
def test_cross_entropy_is_its_formula(smoothing, class_weights, used):
    loss = CrossEntropy(
        [3, 6, 9], **LOSS | {"label_smoothing": smoothing, "class_weights": class_weights}
    )
    assert loss.double()(LOGITS, LABELS).item() == pytest.approx(smoothed(smoothing, used))


def test_the_score_is_the_plain_loss_whatever_the_settings():
    settings = {"label_smoothing": 0.3, "class_weights": [1, 2, 3]}
    loss = CrossEntropy([1, 1, 1], **LOSS | settings).double()
    assert loss.score(LOGITS, LABELS).item() == pytest.approx(smoothed(0.0, [1, 1, 1]))


def test_a_batch_of_classes_without_weight_teaches_nothing_and_is_no_divergence():
    weights = {"class_weights": [0.0, 1.0, 1.0]}
    labels = torch.zeros(4, dtype=torch.int64)
    smooth = CrossEntropy([1, 1, 1], **LOSS | weights | {"label_smoothing": 0.1})
    for loss in (smooth, Focal([1, 1, 1], **PLAIN | weights, gamma=2.0)):
        logits = torch.randn(4, 3, requires_grad=True)
        alone = loss(logits, labels)
        alone.backward()
        assert alone.item() == logits.grad.abs().sum().item() == 0
    both = losses.stacked([smooth, CrossEntropy([1, 1, 1], **LOSS)], torch.device("cpu"))
    assert both(torch.randn(2, 4, 3), labels.expand(2, 4)).isfinite().all()


def test_mse_is_its_formula():
    one_hot = torch.eye(3, dtype=torch.float64)[LABELS]
    expected = ((LOGITS - one_hot) ** 2).sum().item() / (8 * 3)
    loss = MeanSquaredError([1, 1, 1], l1=0.0, l2=0.0)
    assert loss(LOGITS, LABELS).item() == pytest.approx(expected)
    assert loss.score(LOGITS, LABELS).item() == pytest.approx(expected)


PLAIN = {"l1": 0.0, "l2": 0.0}


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize(("class_weights", "used"), [(None, [1, 1, 1]), ([1, 2, 0.5], [1, 2, 0.5])])
def test_focal_is_its_formula(gamma, class_weights, used):
    total = weights = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        total -= used[label] * (1 - p) ** gamma * math.log(p)
        weights += used[label]
    loss = Focal([3, 6, 9], gamma=gamma, class_weights=class_weights, **PLAIN).double()
    assert loss(LOGITS, LABELS).item() == pytest.approx(total / weights)
    assert loss.score(LOGITS, LABELS).item() == pytest.approx(smoothed(0.0, [1, 1, 1]))


def test_focal_without_gamma_is_cross_entropy():
    loss = Focal([3, 6, 9], gamma=0.0, class_weights="balanced", **PLAIN).double()
    expected = smoothed(0.0, [6 / 3, 6 / 6, 6 / 9])
    assert loss(LOGITS, LABELS).item() == pytest.approx(expected)


def test_focal_has_a_finite_gradient_where_the_network_is_certain():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    Focal([1, 1], gamma=0.5, class_weights=None, **PLAIN)(logits, torch.tensor([0, 0])).backward()
    assert logits.grad.isfinite().all()


def test_losses_of_numbers_are_their_formulas():
    outputs, targets = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5], [1.0], [1.0]])
    errors = [0.5, 0.0, 4.0]
    assert MeanSquaredError([], **PLAIN)(outputs, targets).item() == pytest.approx(
        sum(e * e for e in errors) / 3
    )
    assert AbsoluteError([], **PLAIN)(outputs, targets).item() == pytest.approx(sum(errors) / 3)
    huber = Huber([], delta=2.0, **PLAIN)(outputs, targets).item()
    assert huber == pytest.approx((0.5**2 / 2 + 2 * (4 - 1)) / 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropy([], **LOSS), "loss: cross_entropy needs class labels.*loss=mse"),
        (lambda: Focal([], gamma=2.0, class_weights=None, **PLAIN), "loss: focal needs class"),
        (lambda: Huber([3, 3], delta=1.0, **PLAIN), "loss: huber needs float targets"),
        (lambda: AbsoluteError([3, 3], **PLAIN), "loss: l1 needs float targets.*cross_entropy"),
        (lambda: Huber([], delta=0.0, **PLAIN), r"loss\.delta: expected float above 0, got 0\.0"),
    ],
)
def test_a_loss_of_the_other_kind_of_target_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_penalties_have_the_gradient_of_their_formula(l1, l2):
    layer = nn.Linear(4, 3)
    batch = torch.randn(8, 4)
    weight = layer.weight

    layer(batch).square().mean().backward()
    Loss(l1=l1, l2=l2).penalise([weight])
    ours = weight.grad.clone()

    layer.zero_grad()
    penalty = l1 * weight.abs().sum() + l2 * weight.square().sum()
    (layer(batch).square().mean() + penalty).backward()
    torch.testing.assert_close(ours, weight.grad)


def test_a_weight_that_the_loss_does_not_reach_is_left_alone():
    unused = nn.Parameter(torch.ones(2, 2))
    Loss(l1=0.1, l2=0.1).penalise([unused])
    assert unused.grad is None


@pytest.mark.parametrize(
    ("weights", "counts", "message"),
    [
        ("balanced", [3, 0, 4], "class 1 has no training image"),
        ([1.0, 2.0], [3, 3, 4], "does not fit 3 classes"),
        ([0.0, 0.0, 0.0], [3, 3, 4], "gives all images the weight 0"),
        ("balance", [3, 3, 4], r"expected list.* \| 'balanced' \| null, got 'balance'"),
    ],
)
def test_impossible_class_weights_are_named(weights, counts, message):
    with pytest.raises(ConfigError, match=message):
        CrossEntropy(counts, **LOSS | {"class_weights": weights})
