"""An exponential moving average of a network's weights, scored in its place."""

import copy

import torch
from torch import nn


class Average:
    """A copy of ``network`` whose tensors follow it: mine ← decay · mine + (1 - decay) · theirs.

    Running statistics of norms are averaged as the weights are; counters are copied.  After t
    updates the decay is (1 + t) / (10 + t) at most, as TensorFlow's ExponentialMovingAverage has
    it, for the random weights of the beginning to be forgotten.  Only the tensors are state.
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
        """Follows the network by one step, after ``updates`` earlier ones."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(*self.averaged, weight=1 - decay)
        if self.copied[0]:
            torch._foreach_copy_(*self.copied)
