"""An exponential moving average of a network's weights, which is scored instead of it."""

import copy

import torch
from torch import nn


class Average:
    """A copy of ``network`` that follows it: average ← decay · average + (1 - decay) · weights.

    Running statistics of norms are averaged like weights; counters are copied. After t updates the
    decay is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage, so that the
    random initial weights are forgotten. Only the tensors are state.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        others = [name for name in mine if name not in set(floats)]
        self.averaged = [mine[n] for n in floats], [theirs[n] for n in floats]
        self.copied = [mine[n] for n in others], [theirs[n] for n in others]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Update the average once, after ``updates`` earlier updates."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(*self.averaged, weight=1 - decay)
        if self.copied[0]:
            torch._foreach_copy_(*self.copied)
