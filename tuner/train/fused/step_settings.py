"""Read the settings of a learner's parameters from its optimiser and loss."""

from typing import Any

import torch
from torch import Tensor

from tuner.train.fused import optimizer_steps
from tuner.train.fused.optimizer_steps import Numbers, Rule
from tuner.train.learner import Learner
from tuner.train.loss import Loss


def kinds(learner: Learner) -> tuple[list[tuple[int, bool]], Tensor]:
    """Return the kinds of parameters, which a step treats alike, and the kind of each column.

    A kind is the index of a group of the optimiser, and whether the loss penalises it.
    """
    penalised = {id(weight) for weight in learner.weights}
    groups = {
        id(parameter): number
        for number, group in enumerate(learner.optimizer.param_groups)
        for parameter in group["params"]
    }
    parameters = list(learner.network.parameters())
    kinds = [(groups[id(p)], id(p) in penalised) for p in parameters]
    distinct = sorted(set(kinds))
    places = torch.tensor([distinct.index(kind) for kind in kinds])
    sizes = torch.tensor([p.numel() for p in parameters])
    return distinct, places.repeat_interleave(sizes).to(learner.device)


def numbers(
    rule: Rule, group: dict[str, Any], loss: Loss, penalised: bool, factors: optimizer_steps.Series,
    steps: optimizer_steps.Series,
) -> Numbers:  # fmt: skip
    rate = float(group.get("initial_lr", group["lr"])) * group.get("factor", 1.0)
    numbers = rule.numbers(group, rate * factors, steps)
    return numbers | {
        "l1": loss.l1 if penalised else 0.0,
        "l2": loss.l2 if penalised else 0.0,
    }


def state(learner: Learner, rule: Rule) -> dict[str, list[Tensor]]:
    """Return the optimiser's tensors that the stack uses; none before its first step."""
    states = [learner.optimizer.state.get(p, {}) for p in learner.network.parameters()]
    return {
        name: [state[name] for state in states]
        for name in rule.state
        if all(state.get(name) is not None for state in states)
    }


def begin_state(learner: Learner, rule: Rule, steps: int) -> None:
    """Create the state of the optimiser's first step, and count its steps."""
    for group in learner.optimizer.param_groups:
        momentum = group.get("momentum", 1)
        on_device = group.get("fused") or "capturable" in group  # as a captured step requires
        for parameter in group["params"]:
            state = learner.optimizer.state[parameter]
            for name in rule.state:
                if name not in state and (momentum or name != "momentum_buffer"):
                    state[name] = torch.zeros_like(parameter)
            if rule.counts:
                device = parameter.device if on_device else None
                state["step"] = torch.full((), float(steps), device=device)
