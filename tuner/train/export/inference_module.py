"""A trained network with all processing from an image's bytes to its predictions."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tuner.train.data.augment import Augment, mean_outputs


class Deployed(nn.Module):
    """uint8 [b, H, W, C] → float32 [b, k]: probabilities, or numbers for regression.

    The deployed model is the one that was scored: with ``trainer.tta``, it is the mean over views.
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
        """Create the model; ``mean`` and ``std`` [C] are in grey levels."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.views = views
        self.regression = regression

    def forward(self, images: Tensor) -> Tensor:
        pixels = ((images - self.mean) / self.std).permute(0, 3, 1, 2)
        outputs = mean_outputs(self.network, pixels, self.views)
        return outputs if self.regression else outputs.softmax(1)


def views(recipe: Mapping[str, Any]) -> Augment | None:
    """Return the test-time augmentation with which a run of this recipe was scored."""
    prefix = "data.augment."
    found = {key.removeprefix(prefix): recipe[key] for key in recipe if key.startswith(prefix)}
    return Augment(**found) if recipe.get("trainer.tta") else None
