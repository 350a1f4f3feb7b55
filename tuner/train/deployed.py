"""A trained network with all that lies between an image's bytes and what it says of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tuner.train.augment import Augment


class Deployed(nn.Module):
    """uint8 [b, H, W, C] → float32 [b, k]: probabilities, or numbers where numbers were learned.

    What was scored is what is deployed: where ``trainer.tta`` was on, the mean over the views.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Tensor,
        std: Tensor,
        *,
        views: Augment | None,
        regression: bool,
    ) -> None:
        """``mean`` and ``std`` [C], in grey levels."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.views = views
        self.regression = regression

    def forward(self, images: Tensor) -> Tensor:
        pixels = ((images - self.mean) / self.std).permute(0, 3, 1, 2)
        views = [pixels] if self.views is None else list(self.views.views(pixels))
        outputs = [self.network(view).float() for view in views]
        mean = outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)
        return mean if self.regression else mean.softmax(1)


def views(recipe: Mapping[str, Any]) -> Augment | None:
    """What test-time views a run with this recipe was scored by."""
    prefix = "data.augment."
    found = {key.removeprefix(prefix): recipe[key] for key in recipe if key.startswith(prefix)}
    return Augment(**found) if recipe.get("trainer.tta") else None
