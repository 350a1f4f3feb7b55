"""Losses over logits, and penalties on the weights.

A loss is built once a trial from the class counts of its training images.  ``forward`` is what
training minimises; ``score`` is the same loss without smoothing or class weights, so that trials
with different settings can be compared by it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.errors import ConfigError


class Loss(nn.Module):
    """Base of the losses: L1 and L2 penalties (both together: the elastic net)."""

    def __init__(self, *, l1: float, l2: float) -> None:
        super().__init__()
        self.l1, self.l2 = l1, l2

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The plain mean loss of logits [b, classes] and labels int64 [b], for comparison."""
        raise NotImplementedError

    @torch.no_grad()
    def penalise(self, weights: Sequence[Tensor]) -> None:
        """Adds the gradient of l1·Σ|w| + l2·Σw² to each weight's ``.grad``.

        Writing the gradient costs two foreach kernels a step and no autograd graph; the reported
        loss stays the data's alone.
        """
        pairs = [(w, w.grad) for w in weights if w.grad is not None]
        if not pairs:
            return
        reached, gradients = [w for w, _ in pairs], [g for _, g in pairs]
        if self.l2:
            torch._foreach_add_(gradients, reached, alpha=2 * self.l2)
        if self.l1:
            torch._foreach_add_(gradients, torch._foreach_sign(reached), alpha=self.l1)


class CrossEntropy(Loss):
    """Cross-entropy over softmax, with label smoothing and class weights."""

    weight: Tensor | None

    def __init__(
        self,
        counts: Sequence[int],
        *,
        label_smoothing: float,
        class_weights: list[float] | Literal["balanced"] | None,
        l1: float,
        l2: float,
    ) -> None:
        super().__init__(l1=l1, l2=l2)
        self.label_smoothing = label_smoothing
        weight = _weights(class_weights, counts)
        self.register_buffer("weight", None if weight is None else torch.tensor(weight))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, labels, weight=self.weight, label_smoothing=self.label_smoothing
        )

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)


class MeanSquaredError(Loss):
    """Mean over samples and classes of (logit - one-hot)²."""

    def __init__(self, counts: Sequence[int], *, l1: float, l2: float) -> None:
        super().__init__(l1=l1, l2=l2)
        self.classes = len(counts)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(logits, F.one_hot(labels, self.classes).to(logits.dtype))

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.forward(logits, labels)


def _weights(
    wanted: list[float] | Literal["balanced"] | None, counts: Sequence[int]
) -> list[float] | None:
    """One weight a class; ``balanced`` is n / (classes · count), as in scikit-learn."""
    if wanted is None:
        return None
    if wanted == "balanced":
        if 0 in counts:
            raise ConfigError(
                f"loss.class_weights=balanced, but class {counts.index(0)} has no training image"
                " (hint: raise data.limit, or give the weights as a list)"
            )
        return [sum(counts) / (len(counts) * count) for count in counts]
    if isinstance(wanted, str) or len(wanted) != len(counts):
        raise ConfigError(
            f"loss.class_weights={wanted} does not fit {len(counts)} classes"
            " (hint: null, balanced, or a list of one number a class)"
        )
    return [float(weight) for weight in wanted]
