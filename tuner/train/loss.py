"""Losses over logits or float targets, and penalties on the weights.

A loss is built once per trial from the class counts of its training images (empty for float
targets). ``forward`` is what training minimises; ``score`` is the same loss without smoothing or
class weights, so that trials with different settings can be compared.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.config.bounds import BelowOne, NonNegative, Positive
from tuner.config.types import validate_arguments
from tuner.errors import ConfigError

ClassWeights = list[NonNegative] | Literal["balanced"] | None


class Loss(nn.Module):
    """Base of the losses, with L1 and L2 penalties (both together: the elastic net)."""

    def __init__(self, *, l1: NonNegative, l2: NonNegative) -> None:
        super().__init__()
        self.l1, self.l2 = l1, l2

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the plain mean loss of logits [b, classes] and labels int64 [b]."""
        loss: Tensor = self(logits, labels)
        return loss

    def normaliser(self, labels: Tensor) -> float | Tensor:
        """Return the normaliser of the batch mean: the sum of the samples' weights."""
        return len(labels)

    def partial_mean(self, logits: Tensor, labels: Tensor, *, normaliser: float | Tensor) -> Tensor:
        """Return the contribution of these samples to the mean over a batch of ``normaliser``."""
        loss: Tensor = self(logits, labels)
        return loss * (len(labels) / normaliser)

    @torch.no_grad()
    def penalise(self, weights: Sequence[Tensor]) -> None:
        """Add the gradient of l1·Σ|w| + l2·Σw² to each weight's ``.grad``.

        Writing the gradient costs two foreach kernels per step and no autograd graph; the reported
        loss is that of the data only.
        """
        if not (self.l1 or self.l2):
            return
        pairs = [(w, w.grad) for w in weights if w.grad is not None]
        if not pairs:
            return
        reached, gradients = [w for w, _ in pairs], [g for _, g in pairs]
        if self.l2:
            torch._foreach_add_(gradients, reached, alpha=2 * self.l2)
        if self.l1:
            torch._foreach_add_(gradients, torch._foreach_sign(reached), alpha=self.l1)


def mean(total: Tensor, normaliser: float | Tensor) -> Tensor:
    """Return ``total / normaliser``; 0 without a gradient for a batch of weight 0."""
    return total / (
        normaliser.masked_fill(normaliser == 0, math.inf)
        if isinstance(normaliser, Tensor)
        else normaliser
    )


class Weighted(Loss):
    """Base of losses whose mean weights each sample by its class; None means equal weights."""

    weight: Tensor | None

    def __init__(
        self, counts: Sequence[int], name: str, weights: ClassWeights, *, l1: float, l2: float
    ) -> None:
        super().__init__(l1=l1, l2=l2)
        _require("class labels", counts, name)
        weight = _weights(weights, counts)
        self.register_buffer("weight", None if weight is None else torch.tensor(weight))

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)

    def normaliser(self, labels: Tensor) -> float | Tensor:
        return len(labels) if self.weight is None else self.weight[labels].sum()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.partial_mean(logits, labels, normaliser=self.normaliser(labels))


class CrossEntropy(Weighted):
    """Cross-entropy over softmax, with label smoothing and class weights."""

    @validate_arguments("loss")
    def __init__(
        self,
        counts: Sequence[int],
        *,
        label_smoothing: BelowOne,
        class_weights: ClassWeights,
        l1: NonNegative,
        l2: NonNegative,
    ) -> None:
        super().__init__(counts, "cross_entropy", class_weights, l1=l1, l2=l2)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.weight is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return super().forward(logits, labels)

    def partial_mean(self, logits: Tensor, labels: Tensor, *, normaliser: float | Tensor) -> Tensor:
        smoothing = self.label_smoothing
        total = F.cross_entropy(
            logits, labels, self.weight, reduction="sum", label_smoothing=smoothing
        )
        return mean(total, normaliser)


class Focal(Weighted):
    """Mean of -(1 - p)^gamma · log p of the label's probability p: easy samples have less weight.

    Lin 2017 (arXiv:1708.02002); class weights as in cross-entropy, which is gamma = 0.
    """

    @validate_arguments("loss")
    def __init__(
        self,
        counts: Sequence[int],
        *,
        gamma: NonNegative,
        class_weights: ClassWeights,
        l1: NonNegative,
        l2: NonNegative,
    ) -> None:
        super().__init__(counts, "focal", class_weights, l1=l1, l2=l2)
        self.gamma = gamma

    def partial_mean(self, logits: Tensor, labels: Tensor, *, normaliser: float | Tensor) -> Tensor:
        log_p = -F.cross_entropy(logits, labels, reduction="none")
        # 1 - p rounds to 0 for p near 1, where a power's gradient may be infinite.
        hardness = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).eps)
        losses = -(hardness**self.gamma) * log_p
        if self.weight is not None:
            losses = self.weight[labels] * losses
        return mean(losses.sum(), normaliser)


class MeanSquaredError(Loss):
    """Mean over samples and classes of (logit - one-hot)², or of (output - float target)²."""

    @validate_arguments("loss")
    def __init__(self, counts: Sequence[int], *, l1: NonNegative, l2: NonNegative) -> None:
        super().__init__(l1=l1, l2=l2)
        self.classes = len(counts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.classes).to(logits.dtype)
        return F.mse_loss(logits, labels)


class Huber(Loss):
    """Mean of error² / 2 where |error| < delta, else delta · (|error| - delta / 2); Huber 1964.

    For float targets; for a small ``delta``, divided by ``delta``, it is the mean absolute error.
    """

    @validate_arguments("loss")
    def __init__(
        self, counts: Sequence[int], *, delta: Positive, l1: NonNegative, l2: NonNegative
    ) -> None:
        super().__init__(l1=l1, l2=l2)
        _require("float targets", counts, "huber")
        self.delta = delta

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs, targets, delta=self.delta)


class AbsoluteError(Loss):
    """Mean of |output - target|, for float targets."""

    @validate_arguments("loss")
    def __init__(self, counts: Sequence[int], *, l1: NonNegative, l2: NonNegative) -> None:
        super().__init__(l1=l1, l2=l2)
        _require("float targets", counts, "l1")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(outputs, targets)


FITTING = {"class labels": "cross_entropy, focal or mse", "float targets": "mse, l1 or huber"}
"""Kind of data → the losses for it."""


def _require(wanted: str, counts: Sequence[int], name: str) -> None:
    given = "class labels" if counts else "float targets"
    if given != wanted:
        raise ConfigError(
            f"{name} needs {wanted}, but the data have {given}",
            key="loss",
            hint=f"loss={FITTING[given]}",
        )


def _weights(wanted: ClassWeights, counts: Sequence[int]) -> list[float] | None:
    """Return one weight per class; ``balanced`` is n / (classes · count), as in scikit-learn."""
    if wanted is None:
        return None
    if wanted == "balanced":
        if 0 in counts:
            raise ConfigError(
                f"balanced, but class {counts.index(0)} has no training image",
                key="loss.class_weights",
                hint="raise data.limit, or give the weights as a list",
            )
        return [sum(counts) / (len(counts) * count) for count in counts]
    if isinstance(wanted, str) or len(wanted) != len(counts):
        raise ConfigError(
            f"{wanted} does not fit {len(counts)} classes",
            key="loss.class_weights",
            hint="null, balanced, or a list with one number per class",
        )
    if not any(wanted):
        raise ConfigError(
            f"{wanted} gives all images the weight 0",
            key="loss.class_weights",
            hint="set at least one weight above 0, or null",
        )
    return [float(weight) for weight in wanted]
