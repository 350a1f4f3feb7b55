"""A custom network and data set for the built-in trainer, named by ``_target_``."""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from tuner.train.data import Arrays, Augment, Data, place

CLASSES = ("square", "cross", "ring")


class Pyramid(nn.Module):
    """Convolutions of decreasing size, then a mean over the image.

    The trainer passes the shape of the images: ``in_shape`` is (channels, height, width).
    """

    def __init__(
        self, *, in_shape: tuple[int, int, int], num_classes: int, width: int, depth: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_shape[0]
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """float [b, C, H, W] → scores [b, classes]."""
        scores: Tensor = self.head(self.features(images).mean((2, 3)))
        return scores


def shapes(
    device: torch.device,
    *,
    images: int,
    noise: float,
    validation: float,
    split_seed: int,
    augment: Augment,
) -> Data:
    """Return noisy drawings of three shapes, 16x16 grey pixels, in place of your own images.

    ``place`` takes uint8 [n, H, W, C] and int64 [n], splits off the validation images and moves all
    to the device. The test images are used only by `tuner final`.
    """
    pool, test = _draw(images, noise, seed=1), _draw(images // 4, noise, seed=2)
    found = place(pool, test, device, validation, split_seed, limit=None)
    return dataclasses.replace(found, augment=augment)


def _draw(count: int, noise: float, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    forms = [
        (np.maximum(abs(x), abs(y)) < 0.6),
        (np.minimum(abs(x), abs(y)) < 0.2),
        (abs(np.hypot(x, y) - 0.6) < 0.2),
    ]
    clean = np.stack(forms)[labels] * 160.0
    noisy = clean + rng.normal(0, noise, clean.shape)
    return Arrays(noisy.clip(0, 255).astype(np.uint8)[..., None], labels, CLASSES)
