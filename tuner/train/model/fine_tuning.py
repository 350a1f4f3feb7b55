"""Fine-tuning of a network in stages from input to head: freezing and layer-wise learning rates."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from tuner.config.bounds import Factor, Share, Whole
from tuner.config.types import validate_arguments
from tuner.train.data.tensors import Data

Stage = Sequence[nn.Module | nn.Parameter]


class Staged(nn.Module):
    """Base of networks that are trained from pretrained weights.

    ``stages`` lists modules and single parameters in order of depth, the head last; subclasses set
    it with ``set_stages``. ``mean`` and ``std`` (in grey levels, one for each of three channels)
    are the normalisation that the weights expect, None if they expect none.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    @validate_arguments("model")
    def set_stages(
        self,
        stages: Sequence[Stage],
        *,
        freeze: Whole | Share,
        unfreeze_epoch: Whole,
        layer_decay: Factor,
    ) -> None:
        """Set how stages learn; see ``conf/model/torchvision.yaml``.

        Raises:
            ConfigError: A value is out of its range.
        """
        below = len(stages) - 1  # the head is never frozen
        self.stages = stages
        self.layer_decay = layer_decay
        self.unfreeze_epoch = unfreeze_epoch
        self.freezable = min(round(freeze * below) if isinstance(freeze, float) else freeze, below)
        self.frozen = 0
        self.begin_epoch(1)

    def begin_epoch(self, epoch: int) -> bool:
        """Freeze or unfreeze stages for ``epoch`` (from 1); return whether anything changed.

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
        """Set training mode, keeping frozen stages in eval mode.

        Their batch norms use their stored statistics without updating them, and their dropout is
        off.
        """
        super().train(mode)
        for stage in self.stages[: self.frozen] if mode else ():
            for part in stage:
                if isinstance(part, nn.Module):
                    part.eval()
        return self

    def factors(self) -> dict[nn.Parameter, float]:
        """Return the factor of the learning rate for each parameter that is ever trained.

        It is ``layer_decay`` to the power of the distance from the head, as in BEiT (Bao 2021,
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


def normalised(data: Data, network: nn.Module) -> Data:
    """Return the data with the normalisation that the network's weights expect, if any.

    Three means for images of one channel expand them to three channels.
    """
    if not isinstance(network, Staged) or network.mean is None or network.std is None:
        return data
    mean = torch.tensor(network.mean, device=data.mean.device)
    return replace(data, mean=mean, std=torch.tensor(network.std, device=data.mean.device))
