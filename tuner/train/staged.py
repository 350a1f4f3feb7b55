"""A network in stages from input to head: the first may be frozen, the lower learn more slowly."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from tuner.bounds import Factor, Share, Whole
from tuner.schema import judged
from tuner.train.data import Data

Stage = Sequence[nn.Module | nn.Parameter]


class Staged(nn.Module):
    """Base of networks that are trained from weights learned elsewhere.

    ``stages`` lists modules and lone parameters in the order of depth, the head last; it is set by
    the subclass with ``set_stages``.  ``mean`` and ``std`` (in grey levels, one for each of three
    channels) are the normalisation that the weights expect, None where they expect none.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    @judged("model")
    def set_stages(
        self,
        stages: Sequence[Stage],
        *,
        freeze: Whole | Share,
        unfreeze_epoch: Whole,
        layer_decay: Factor,
    ) -> None:
        """Says how stages learn; see ``conf/model/torchvision.yaml``.

        Raises: ConfigError for values out of their range.
        """
        below = len(stages) - 1  # the head is never frozen
        self.stages = stages
        self.layer_decay = layer_decay
        self.unfreeze_epoch = unfreeze_epoch
        self.freezable = min(round(freeze * below) if isinstance(freeze, float) else freeze, below)
        self.frozen = 0
        self.begin_epoch(1)

    def begin_epoch(self, epoch: int) -> bool:
        """Freezes or frees what ``epoch`` (from 1) wants; whether that changed anything.

        A step that was captured before a change must be captured again.
        """
        free = 0 < self.unfreeze_epoch <= epoch
        frozen = 0 if free else self.freezable
        changed = frozen != self.frozen
        self.frozen = frozen
        for depth, stage in enumerate(self.stages):
            for part in stage:
                part.requires_grad_(depth >= frozen)
        self.train(self.training)
        return changed

    def train(self, mode: bool = True) -> "Staged":
        """As usual, but frozen stages stay as in evaluation.

        Their batch norms keep and use the statistics they came with, and nothing drops out.
        """
        super().train(mode)
        for stage in self.stages[: self.frozen] if mode else ():
            for part in stage:
                if isinstance(part, nn.Module):
                    part.eval()
        return self

    def factors(self) -> dict[nn.Parameter, float]:
        """What the learning rate of each parameter that is ever trained is multiplied by.

        ``layer_decay`` to the power of the distance from the head, as in BEiT (Bao 2021,
        arXiv:2106.08254).
        """
        never = 0 if self.unfreeze_epoch else self.freezable
        return {
            parameter: self.layer_decay ** (len(self.stages) - 1 - depth)
            for depth, stage in enumerate(self.stages)
            if depth >= never
            for part in stage
            for parameter in ([part] if isinstance(part, nn.Parameter) else part.parameters())
        }


def begin_epoch(network: nn.Module, epoch: int) -> bool:
    """``Staged.begin_epoch`` where the network has stages; False for any other."""
    return isinstance(network, Staged) and network.begin_epoch(epoch)


def normalised(data: Data, network: nn.Module) -> Data:
    """The data with the normalisation that the network's weights expect, if they expect one.

    Three means over images of one channel make three channels of them.
    """
    if not isinstance(network, Staged) or network.mean is None or network.std is None:
        return data
    mean = torch.tensor(network.mean, device=data.mean.device)
    return replace(data, mean=mean, std=torch.tensor(network.std, device=data.mean.device))
