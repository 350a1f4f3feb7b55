"""Parameter groups for ``torch.optim``, and learning-rate schedules.

A schedule is a pure function of progress, the fraction of the run's steps already made, in [0, 1);
the learning rate of a step is the optimiser's own times the schedule's value. A resumed run
therefore needs no schedule state, and every trial of a search runs the whole schedule.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from tuner.config.bounds import (
    BELOW_ONE,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    BelowOne,
    Count,
    Factor,
    Keywords,
    Positive,
    Share,
    Whole,
)
from tuner.train.model.fine_tuning import Staged

KEYWORDS = Keywords(
    {
        "lr": POSITIVE, "weight_decay": NON_NEGATIVE, "momentum": BELOW_ONE, "betas": BELOW_ONE,
        "eps": POSITIVE, "alpha": BELOW_ONE, "rho": BELOW_ONE, "dampening": SHARE,
        "momentum_decay": NON_NEGATIVE, "lr_decay": NON_NEGATIVE,
    }
)  # fmt: skip
"""The meanings of these names in torch's optimisers and those that follow their conventions."""


def spare_compiler() -> None:
    """Prevent the construction of an optimiser from loading ``torch._dynamo``.

    Loading takes 1.2 s; ``tuner check`` and supervisors never run a step and do not need it. The
    methods of optimisers look for this attribute first; if a version of torch does not, it has no
    effect.
    """
    for method in vars(Optimizer).values():
        wrapped = getattr(method, "__wrapped__", None)
        if wrapped is not None:
            wrapped.__dict__.setdefault("__dynamo_disable", wrapped)


def stepper(optimizer: Optimizer) -> Callable[[], object]:
    """Return the ``step`` of an optimiser without torch's wrapper.

    torch wraps the steps of its own optimisers in a function that loads ``torch._dynamo``, which
    takes 1.2 s in every process, to exclude the step from compilation. The trainer compiles no
    steps.
    """
    if not type(optimizer).__module__.startswith("torch.optim."):
        return optimizer.step
    return torch.no_grad()(functools.partial(inspect.unwrap(type(optimizer).step), optimizer))


def make(optimizer: Callable[..., Optimizer], network: nn.Module) -> Optimizer:
    """Return an optimiser of the network; each group's ``initial_lr`` includes its factor."""
    made = built(optimizer, groups(network))
    for group in made.param_groups:
        group["initial_lr"] = group["lr"] * group.pop("factor", 1.0)
    return made


def built(optimizer: Callable[..., Optimizer], of: list[dict[str, Any]]) -> Optimizer:
    """Return the optimiser of some groups, converting ``betas`` that torch rejects as integers."""
    spare_compiler()
    given = getattr(optimizer, "keywords", {}).get("betas")
    if isinstance(given, list | tuple) and all(isinstance(beta, int | float) for beta in given):
        return optimizer(of, betas=tuple(map(float, given)))
    return optimizer(of)


def groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return two groups: weights, which decay, and biases, norms and slopes, which do not.

    A ``Staged`` network has two groups for each of its learning-rate factors; they also contain
    parameters that are frozen at first and trained later.
    """
    if isinstance(network, Staged):
        factors = network.factors()
        return [
            group | {"factor": factor}
            for factor in sorted(set(factors.values()), reverse=True)
            for group in _groups([p for p in factors if factors[p] == factor])
        ]
    return _groups([p for p in network.parameters() if p.requires_grad])


def _groups(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    matrices, vectors = ([p for p in parameters if (p.ndim < 2) == v] for v in (False, True))
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def begin_momentum(optimizer: Optimizer) -> None:
    """Give fused SGD a momentum of zero for every parameter that has none yet.

    torch creates the buffers of a group only if none of its parameters has one, and raises
    TypeError if some have: those of a stage that was frozen have none when it is unfrozen. Starting
    from zero, the first step is the one that torch makes, unless ``dampening`` shrinks its
    gradient.
    """
    if not isinstance(optimizer, SGD):
        return
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                state.setdefault("momentum_buffer", torch.zeros_like(parameter))


def restore(optimizer: Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Load the ``state`` of a similar optimiser.

    torch moves every tensor of it to its parameter's device, except for the step counter, which an
    optimiser that is neither fused nor captured reads on the host. NAdam reads another number
    there, for which a GPU would synchronise at every step and parameter.
    """
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, numbers in zip(optimizer.param_groups, groups, strict=True):
        if group.get("fused") or group.get("capturable"):
            continue
        for parameter, number in zip(group["params"], numbers["params"], strict=True):
            for name, value in state.get(number, {}).items():
                if isinstance(value, Tensor) and not value.dim():
                    optimizer.state[parameter][name] = value.cpu()


def set_factor(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` times its initial one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


def constant(progress: float, *, warmup: BelowOne = 0.0) -> float:
    """Return 1, after a linear warm-up over the fraction ``warmup``."""
    return _warmed(progress, warmup)[0]


def step(progress: float, *, drops: Whole, gamma: Factor, warmup: BelowOne = 0.0) -> float:
    """Multiply by ``gamma`` at each of ``drops`` points that divide the run into equal parts."""
    rise, progress = _warmed(progress, warmup)
    return rise * float(gamma ** math.floor(progress * (drops + 1)))


def cosine(progress: float, *, final: Share, warmup: BelowOne = 0.0) -> float:
    """Return half a cosine from 1 down to ``final``."""
    rise, progress = _warmed(progress, warmup)
    return rise * _half_cosine(1.0, final, progress)


def restarts(
    progress: float, *, cycles: Count, stretch: Positive, final: Share, warmup: BelowOne = 0.0
) -> float:
    """Repeat ``cosine`` for ``cycles`` cycles, each ``stretch`` times as long as the one before.

    SGDR, Loshchilov & Hutter 2017 (arXiv:1608.03983); only whole cycles, so the run ends at
    ``final``.
    """
    rise, progress = _warmed(progress, warmup)
    lengths = [stretch**cycle for cycle in range(cycles)]
    place = progress * sum(lengths)
    for length in lengths[:-1]:
        if place < length:
            return rise * _half_cosine(1.0, final, place / length)
        place -= length
    return rise * _half_cosine(1.0, final, place / lengths[-1])


def onecycle(progress: float, *, warmup: BelowOne, initial: Share, final: Share) -> float:
    """Rise by half a cosine from ``initial`` to 1 over ``warmup``, then fall to ``final``.

    Smith & Topin 2018 (arXiv:1708.07120) with cosine legs; the momentum is constant.
    """
    if progress < warmup:
        return _half_cosine(initial, 1.0, progress / warmup)
    return _half_cosine(1.0, final, (progress - warmup) / (1 - warmup))


def _warmed(progress: float, warmup: float) -> tuple[float, float]:
    """Return the warm-up factor at ``progress``, and the progress of the schedule after it."""
    if progress < warmup:
        return progress / warmup, 0.0
    return 1.0, (progress - warmup) / (1 - warmup)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
