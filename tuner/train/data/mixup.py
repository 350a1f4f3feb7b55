"""Mixup and CutMix: blend each image of a batch with the one before it.

The order of an epoch is random, so the neighbour is a random partner and need not be drawn. One row
of draws determines the blend of a whole batch, and one formula covers both methods: the weight of
an image's own pixels is ``share`` everywhere except in a box, where it is 0. Mixup has an empty
box, CutMix a share of 1.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tuner.train.data.augment import Augment


def draw(
    augment: Augment, steps: int, size: tuple[int, int], generator: torch.Generator
) -> Sequence[Sequence[Tensor]]:
    """Return the additional arguments of ``steps`` steps: one row each, or none without mixing."""
    if not (augment.mixup or augment.cutmix):
        return [()] * steps
    return [(row,) for row in draw_rows(augment, steps, size, generator)]


def draw_rows(
    augment: Augment, steps: int, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw rows for ``steps`` batches of images of height and width ``size``.

    λ ~ Beta(a, a) is drawn once per batch. It is mixup's share (Zhang 2018, arXiv:1710.09412), or
    the fraction of pixels outside of CutMix's box before this is cut off at the border (Yun 2019,
    arXiv:1905.04899). If both are on, one is chosen at random for each batch.

    Returns:
        float32 [steps, 5]: share outside of the box; its top, bottom, left and right, with bottom
            and right excluded.
    """
    rows = []
    if augment.mixup:
        share = _beta(augment.mixup, steps, generator)
        rows.append(torch.stack([share, *[torch.zeros_like(share)] * 4], dim=1))
    if augment.cutmix:
        rows.append(_boxes(_beta(augment.cutmix, steps, generator), size, generator))
    if len(rows) == 1:
        return rows[0]
    coin = torch.rand(steps, 1, generator=generator, device=generator.device) < 0.5
    return torch.where(coin, rows[0], rows[1])


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw from Beta(a, a) as a Dirichlet pair; torch.distributions accepts no generator."""
    pair = torch.full((count, 2), float(alpha), device=generator.device)  # `mixup=1` is an integer
    return torch._sample_dirichlet(pair, generator)[:, 0]


def _boxes(share: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return rows of ``draw`` for boxes at random points, with area 1 - ``share`` before cuts."""
    side = (1 - share).sqrt()
    edges = []
    for length in size:
        centre = torch.rand(share.shape, generator=generator, device=share.device) * length
        edges += [(centre - side * length / 2).round().clamp(0, length)]
        edges += [(centre + side * length / 2).round().clamp(0, length)]
    return torch.stack([torch.ones_like(share), *edges], dim=1)


def before(batch: Tensor) -> Tensor:
    """Return each element's partner: the one before it, and the last for the first."""
    return batch.roll(1, 0)


def blend(images: Tensor, partners: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Blend images [b, C, H, W] with ``partners`` by one row of draws; return their own share.

    This share of the pixels, a scalar on the device, is also that of an image's own label.
    """
    share, top, bottom, left, right = row.unbind()
    rows = torch.arange(images.shape[2], device=images.device)
    cols = torch.arange(images.shape[3], device=images.device)
    inside = ((rows >= top) & (rows < bottom))[:, None] & ((cols >= left) & (cols < right))
    own = torch.where(inside, torch.zeros_like(share), share)
    return torch.lerp(partners, images, own), own.mean()


def blended(
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: Tensor,
    labels: Tensor,
    partners: Tensor,
    share: Tensor,
) -> Tensor:
    """Return the loss for the images' own and their partners' labels, weighted by share."""
    return share * loss(outputs, labels) + (1 - share) * loss(outputs, partners)
