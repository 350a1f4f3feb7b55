"""The steps of ``torch.optim`` for k networks at once, each with its own numbers.

The parameters of the k networks are the rows of one matrix [k, n], so a step is a few operations
regardless of the number of layers. What differs between parameters of one network (decay,
penalties, a layer's learning rate) differs between *classes* of columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from tuner.train.device import hardware

Group = Mapping[str, Any]
Series = np.ndarray[Any, np.dtype[np.float64]]
Numbers = dict[str, float | Series]
"""Name → its value in each step of an epoch, or a constant."""
Now = Mapping[str, Tensor]
"""Name → its value in this step, [k, 1] or [k, n]; numbers that are always 0 are omitted."""


@dataclass(frozen=True)
class Rule:
    """The steps of one class of optimisers.

    ``state``: names of its state tensors that have their parameter's shape. ``allowed``: settings
    for which only the given value is supported. ``numbers(group, rates, steps)``: the numbers of
    the steps ``steps`` (from 1) with the learning rates ``rates``. ``counts``: whether the
    optimiser counts its steps.
    """

    state: tuple[str, ...]
    counts: bool
    allowed: Mapping[str, Any]
    numbers: Callable[[Group, Series, Series], Numbers]
    apply: Callable[[Tensor, Tensor, Now, Mapping[str, Tensor]], None]


def _sgd_numbers(group: Group, rates: Series, steps: Series) -> Numbers:
    return {
        "lr": rates,
        "decay": group["weight_decay"],
        "momentum": group["momentum"],
        "nesterov": float(group["nesterov"]),
    }


def _sgd(weights: Tensor, gradient: Tensor, now: Now, state: Mapping[str, Tensor]) -> None:
    step = gradient
    if "momentum" in now:
        buffer = state["momentum_buffer"]
        step = buffer.mul_(now["momentum"]).add_(gradient)
        if "nesterov" in now:
            step = gradient.addcmul(buffer, now["momentum"])
    weights.addcmul_(step, now["lr"], value=-1)


def _adam_numbers(group: Group, rates: Series, steps: Series) -> Numbers:
    """Return Adam's numbers: Kingma & Ba 2015; decoupled decay: Loshchilov & Hutter 2019.

    The bias corrections are computed here, in double precision.
    """
    (beta1, beta2), decay = group["betas"], group["weight_decay"]
    decoupled = group.get("decoupled_weight_decay", False)
    return {
        "decay": 0.0 if decoupled else decay,
        "shrink": rates * decay * decoupled,
        "1-beta1": 1 - beta1,
        "beta2": beta2,
        "1-beta2": 1 - beta2,
        "lr": rates / (1 - beta1**steps),
        "root": 1 / np.sqrt(1 - beta2**steps),
        "eps": group["eps"],
    }


def _adam(weights: Tensor, gradient: Tensor, now: Now, state: Mapping[str, Tensor]) -> None:
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    if "shrink" in now:
        weights.addcmul_(weights, now["shrink"], value=-1)
    mean.lerp_(gradient, now["1-beta1"].expand_as(mean))
    square.mul_(now["beta2"]).addcmul_(gradient * gradient, now["1-beta2"])
    scale = square.sqrt().mul_(now["root"]).add_(now["eps"])
    weights.addcmul_(mean / scale, now["lr"], value=-1)


def _rmsprop_numbers(group: Group, rates: Series, steps: Series) -> Numbers:
    return {
        "lr": rates,
        "decay": group["weight_decay"],
        "momentum": group["momentum"],
        "alpha": group["alpha"],
        "1-alpha": 1 - group["alpha"],
        "eps": group["eps"],
    }


def _rmsprop(weights: Tensor, gradient: Tensor, now: Now, state: Mapping[str, Tensor]) -> None:
    square = state["square_avg"]
    square.mul_(now["alpha"]).addcmul_(gradient * gradient, now["1-alpha"])
    step = gradient / square.sqrt().add_(now["eps"])
    if "momentum" in now:
        step = state["momentum_buffer"].mul_(now["momentum"]).add_(step)
    weights.addcmul_(step, now["lr"], value=-1)


_SGD = Rule(("momentum_buffer",), False, {"dampening": 0, "maximize": False}, _sgd_numbers, _sgd)
_ADAM = Rule(
    ("exp_avg", "exp_avg_sq"), True, {"amsgrad": False, "maximize": False}, _adam_numbers, _adam
)
_RMSPROP = Rule(
    ("square_avg", "momentum_buffer"), True, {"centered": False, "maximize": False},
    _rmsprop_numbers, _rmsprop,
)  # fmt: skip
RULES: dict[type[Optimizer], Rule] = {SGD: _SGD, Adam: _ADAM, AdamW: _ADAM, RMSprop: _RMSPROP}


def step(
    rule: Rule, weights: Tensor, gradient: Tensor, now: Now, state: Mapping[str, Tensor],
    longest: float,
) -> None:  # fmt: skip
    """Step every row of ``weights`` [k, n] by the loss's ``gradient`` [k, n].

    The order is that of ``Learner.step``: the penalties' gradient, clipping, decay, the optimiser.
    ``longest`` is the maximum norm of a row's gradient, 0 for none.
    """
    if "l2" in now:
        gradient = gradient.addcmul(weights, now["l2"], value=2)
    if "l1" in now:
        gradient = gradient.addcmul(weights.sign(), now["l1"])
    if longest:  # like torch.nn.utils.clip_grad_norm_
        lengths = gradient.norm(dim=1, keepdim=True)
        gradient = gradient * (longest / (lengths + 1e-6)).clamp(max=1.0)
    if "decay" in now:
        gradient = gradient.addcmul(weights, now["decay"])
    rule.apply(weights, gradient, now, state)


class Table:
    """The numbers of every network and class of columns in every step of an epoch.

    ``numbers[model][class]``; ``columns`` int64 [n]: the class of each column.
    """

    def __init__(self, numbers: Sequence[Sequence[Numbers]], steps: int, columns: Tensor) -> None:
        names = list(numbers[0][0])
        values = np.empty((steps, len(names), len(numbers), len(numbers[0])))
        for model, classes in enumerate(numbers):
            for place, one in enumerate(classes):
                for row, name in enumerate(names):
                    values[:, row, model, place] = one[name]
        self.rows = {
            name: row for row, name in enumerate(names) if name == "lr" or values[:, row].any()
        }
        self.uniform = {
            name: bool((values[:, row] == values[:, row, :, :1]).all())
            for name, row in self.rows.items()
        }
        self.values = hardware.sent(torch.from_numpy(values).float(), columns.device)
        self.columns = columns

    @property
    def layout(self) -> tuple[Any, ...]:
        """The values that a captured step assumes to be constant."""
        return tuple(self.rows.items()), tuple(self.uniform.items())

    def now(self, step: Tensor) -> Now:
        """Return the numbers of a step; ``step`` is a row of ``values``, [names, k, classes]."""
        return {
            name: step[row][:, :1] if self.uniform[name] else step[row][:, self.columns]
            for name, row in self.rows.items()
        }
