"""Batch norm over a batch that is distributed over several ranks."""

from typing import Any

import torch
from torch import Tensor, distributed, nn


class _Sum(torch.autograd.Function):
    """The sum over all ranks; its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


def _normalised(layer: nn.BatchNorm2d | nn.BatchNorm1d, maps: Tensor) -> Tensor:
    """Normalise by mean and variance over the shares of all ranks, which have equal sizes.

    ``nn.SyncBatchNorm`` does the same, but only on CUDA.
    """
    values = maps.float()
    axes = [axis for axis in range(maps.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(maps.ndim)]
    count = maps.numel() // maps.shape[1] * distributed.get_world_size()
    mean = _total(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance = _total(centred.square().sum(axes)) / count
    if layer.running_mean is not None and layer.running_var is not None:
        share = layer.momentum or 0.0
        layer.running_mean.lerp_(mean.detach(), share)
        layer.running_var.lerp_(variance.detach() * count / (count - 1), share)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
    found: Tensor = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        found = found * layer.weight.view(shape) + layer.bias.view(shape)
    return found.to(maps.dtype)


class Norm2d(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        return _normalised(self, maps) if self.training else super().forward(maps)


class Norm1d(nn.BatchNorm1d):
    def forward(self, maps: Tensor) -> Tensor:
        return _normalised(self, maps) if self.training else super().forward(maps)


NORMS: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm2d: Norm2d, nn.BatchNorm1d: Norm1d}
