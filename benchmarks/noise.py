"""Random images in the shape of a data set, for machines without its files."""

import functools

import torch

from tuner.train.data.augment import Augment
from tuner.train.data.tensors import Data, Split

AUGMENT = Augment(shift=2, flip=True)


@functools.cache
def noise(
    device: torch.device,
    *,
    images: int,
    side: int,
    channels: int = 1,
    validation: float = 0.25,
    augment: Augment = AUGMENT,
) -> Data:
    """Return random images of ten classes, uint8 [images, side, side, channels].

    The validation split has ``validation * images`` additional images.
    """
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        pixels = torch.randint(256, (count, side, side, channels), generator=generator)
        labels = torch.randint(10, (count,), generator=generator)
        return Split(pixels.to(torch.uint8).to(device), labels.to(device))

    mean = torch.full((channels,), 127.5, device=device)
    std = torch.full((channels,), 73.9, device=device)
    parts = split(images), split(round(images * validation)), split(10)
    return Data(*parts, tuple("0123456789"), mean, std, augment)
