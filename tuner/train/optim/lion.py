"""Lion: steps by the sign of a momentum, with one state tensor per weight."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tuner.config.bounds import BelowOne, NonNegative, Positive
from tuner.config.types import validate_arguments


class Lion(Optimizer):
    """Chen 2023 (arXiv:2302.06675), with decoupled weight decay.

    Every weight moves by exactly ``lr``, so Lion needs about a tenth of AdamW's learning rate and
    ten times its weight decay. It does not count steps, and its learning rate may be a tensor on
    the device, so a step can be captured in a CUDA graph.
    """

    @validate_arguments("optimizer")
    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: Positive,
        betas: tuple[BelowOne, BelowOne],
        weight_decay: NonNegative,
    ) -> None:
        defaults = {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay}
        super().__init__(params, defaults | {"capturable": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Run one step with the present gradients."""
        if closure is not None:
            raise NotImplementedError("Lion takes gradients that are already computed")
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._move(weights, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update w ← (1 - lr·wd)·w - lr·sign(β1·m + (1-β1)·g), then m ← β2·m + (1-β2)·g."""
        gradients = [w.grad for w in weights if w.grad is not None]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        momenta = [self.state[w]["momentum"] for w in weights]
        (beta1, beta2), rate = group["betas"], group["lr"]
        moves = torch._foreach_sign(torch._foreach_lerp(momenta, gradients, weight=1 - beta1))
        torch._foreach_mul_(moves, rate)
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_sub_(weights, moves)
        torch._foreach_lerp_(momenta, gradients, weight=1 - beta2)
