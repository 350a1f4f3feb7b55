"""Random crops, flips and cutout of a whole batch, drawn separately for each sample.

torchvision's v2 transforms draw one set of parameters per call, so they cannot be used on batches.
Here, all random numbers of an epoch are drawn at once, and shifting and flipping are part of the
gather that takes the batch from the data set, without another pass over the pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.config.bounds import NonNegative, Whole
from tuner.config.types import require


@dataclass(frozen=True)
class Augment:
    """The augmentation of a training image; none by default.

    Args:
        shift: Maximum shift in pixels in each direction, filled with black (a padded random crop).
        flip: Mirror horizontally with probability 0.5.
        cutout: Side in pixels of a black square around a random point, cut off at the border.
        border: Fill of a shift: black, or the image mirrored at its edge (outermost pixels once).
        mixup: Alpha of mixup; see ``tuner.train.data.mixup``.
        cutmix: Alpha of CutMix; see ``tuner.train.data.mixup``.

    Raises:
        ConfigError: A value has another type or is out of range.

    Example:
        >>> Augment(shift=2, flip=True).is_identity
        False
    """

    shift: Whole = 0
    flip: bool = False
    cutout: Whole = 0
    border: Literal["black", "reflect"] = "black"
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0

    def __post_init__(self) -> None:
        require(Augment, vars(self), "data.augment")

    @property
    def is_identity(self) -> bool:
        return not (self.shift or self.flip or self.cutout)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw the augmentation of ``count`` images of height and width ``size``.

        Returns:
            int64 [count, 5]: shift down, shift right, mirrored (0 or 1), row and column of the
                cutout's centre.
        """
        height, width = size
        spans = ((-self.shift, self.shift + 1),) * 2 + ((0, 1 + self.flip), (0, height), (0, width))
        columns = [
            torch.randint(low, high, (count,), generator=generator, device=generator.device)
            for low, high in spans
        ]
        return torch.stack(columns, dim=1)

    def take(self, images: Tensor, index: Tensor, draws: Tensor) -> Tensor:
        """Gather and augment the images number ``index`` of the data set.

        ``images`` uint8 [n, H, W, C], ``index`` int64 [b], ``draws`` [b, 5] → uint8 [b, H, W, C].
        """
        if self.is_identity:
            return images.index_select(0, index)
        _, height, width, channels = images.shape
        down, right, mirrored, top, left = draws.unbind(1)
        rows = torch.arange(height, device=index.device)
        cols = torch.arange(width, device=index.device)
        from_row = rows - down[:, None]
        from_col = torch.where(mirrored[:, None].bool(), width - 1 - cols, cols) - right[:, None]
        if self.border == "reflect":
            from_row, from_col = _reflected(from_row, height), _reflected(from_col, width)
        black = _outside(from_row, height)[:, :, None] | _outside(from_col, width)[:, None, :]
        if self.cutout:
            black |= self._near(rows, top)[:, :, None] & self._near(cols, left)[:, None, :]
        source = (index[:, None] * height + from_row.clamp(0, height - 1)) * width
        pixels = source[:, :, None] + from_col.clamp(0, width - 1)[:, None, :]
        batch = images.view(-1, channels).index_select(0, pixels.flatten())
        batch = batch.view(len(index), height, width, channels)
        return batch.masked_fill_(black[..., None], 0)

    def views(self, images: Tensor) -> Iterator[Tensor]:
        """Return the views for test-time augmentation of float [b, C, H, W], the original first.

        They are mirrored if training mirrors, and shifted by one pixel along either diagonal if
        training shifts, with the outermost pixels repeated.
        """
        height, width = images.shape[2:]
        for mirrored in (images, images.flip(3)) if self.flip else (images,):
            yield mirrored
            if self.shift:
                padded = F.pad(mirrored, (1, 1, 1, 1), mode="replicate")
                yield padded[:, :, :height, :width]
                yield padded[:, :, -height:, -width:]

    def _near(self, positions: Tensor, centre: Tensor) -> Tensor:
        """Return which positions [s] lie in the cutout around each centre [b], as bool [b, s]."""
        start = centre[:, None] - self.cutout // 2
        return (positions >= start) & (positions < start + self.cutout)


def mean_outputs(network: nn.Module, images: Tensor, views: Augment | None) -> Tensor:
    """Return a network's outputs as float32; with ``views``, the mean over those of the images."""
    if views is None:
        outputs: Tensor = network(images).float()
        return outputs
    return torch.stack([network(view).float() for view in views.views(images)]).mean(0)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Mirror positions beyond an edge once, without repeating the outermost pixel."""
    inner = positions.abs()
    return torch.minimum(inner, 2 * (size - 1) - inner)


def _outside(positions: Tensor, size: int) -> Tensor:
    return (positions < 0) | (positions >= size)
