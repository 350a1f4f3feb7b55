"""Parameter groups for ``torch.optim``, and learning-rate schedules.

A schedule is a pure function of progress, the share of the run's steps already made, in [0, 1);
the learning rate of a step is the optimiser's own times the schedule's value.  So a resumed run
needs no schedule state, and every trial of a search sees the whole schedule.
"""

import math
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer


def groups(network: nn.Module) -> list[dict[str, Any]]:
    """Two groups: weights, which decay, and biases, norms and slopes, which do not."""
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": list(weights(network))}, {"params": vectors, "weight_decay": 0.0}]


def weights(network: nn.Module) -> Iterator[nn.Parameter]:
    """The kernels and matrices of a network: what decay and penalties are about."""
    return (p for p in network.parameters() if p.requires_grad and p.ndim >= 2)


def set_factor(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's learning rate to ``factor`` times the one it was made with."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


def constant(progress: float) -> float:
    """The learning rate as it is."""
    return 1.0


def step(progress: float, *, drops: int, gamma: float) -> float:
    """Times ``gamma`` at each of ``drops`` points that part the run into equal lengths."""
    return float(gamma ** math.floor(progress * (drops + 1)))


def cosine(progress: float, *, final: float) -> float:
    """Half a cosine from 1 down to ``final``."""
    return _half_cosine(1.0, final, progress)


def onecycle(progress: float, *, warmup: float, initial: float, final: float) -> float:
    """Half a cosine up from ``initial`` to 1 over the share ``warmup``, then one down to ``final``.

    Smith & Topin 2018 (arXiv:1708.07120) with cosine legs; momentum stays as it is.
    """
    if progress < warmup:
        return _half_cosine(initial, 1.0, progress / warmup)
    return _half_cosine(1.0, final, (progress - warmup) / (1 - warmup))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
