"""Stack k networks of one shape as a single network with their feature maps side by side.

Every activation of the stack is [b, k·c, …], with the channels of one network after those of
another. A convolution becomes a grouped convolution, and a batch norm becomes one of k·c channels,
with each network's own statistics; elementwise and spatial layers are unchanged.

The tensors of the k networks are stacked as [k, …] and substituted for a call
(``torch.func.functional_call``). ``torch.func.vmap`` over the same stack computes the same, but it
moves the k dimension at every convolution and pooling, and took 2.3 times as long for digits-size
networks on a CPU.
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.train.model.cnn import GlobalAverage

Form = Literal["grouped", "contiguous", "products"]
"""How convolutions are computed: grouped over channels_last memory, grouped over contiguous memory,
or as products of matrices over unfolded images. Which is fastest depends on the device.
"""


class Unstackable(Exception):
    """The network has a part that cannot be stacked; the message names it."""


class Convolution(nn.Conv2d):
    """``weight`` [k, out, in, h, w]: k convolutions as one grouped convolution."""

    def forward(self, maps: Tensor) -> Tensor:
        models = len(self.weight)
        bias = None if self.bias is None else self.bias.flatten()
        groups = models * self.groups
        return F.conv2d(
            maps, self.weight.flatten(0, 1), bias, self.stride, self.padding, self.dilation, groups
        )


class Product(Convolution):
    """``Convolution`` by unfolding the images and k products of matrices."""

    def forward(self, maps: Tensor) -> Tensor:
        if self.groups != 1 or isinstance(self.padding, str):
            return super().forward(maps)
        models, out_channels = self.weight.shape[:2]
        height, width = (
            (size + 2 * border - spread * (kernel - 1) - 1) // step + 1
            for size, border, spread, kernel, step in zip(
                maps.shape[2:], self.padding, self.dilation, self.kernel_size, self.stride,
                strict=True,
            )
        )  # fmt: skip
        patches = F.unfold(maps, self.kernel_size, self.dilation, self.padding, self.stride)
        patches = patches.view(len(maps), models, -1, height * width)
        found = self.weight.flatten(2).matmul(patches)
        if self.bias is not None:
            found = found + self.bias[:, :, None].to(found.dtype)
        return found.view(len(maps), models * out_channels, height, width)


class Norm(nn.BatchNorm2d):
    """``running_mean`` and other buffers are [k, c]; flat views of them are updated in place."""

    def forward(self, maps: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        mean, variance = (None if s is None else s.flatten() for s in statistics)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weight, bias = (None if p is None else p.flatten() for p in (self.weight, self.bias))
        from_batch = self.training or mean is None
        return F.batch_norm(
            maps, mean, variance, weight, bias, from_batch, self.momentum or 0.0, self.eps
        )


class Dense(nn.Linear):
    """``weight`` [k, out, in]: k products of matrices, [b, k·in] → [b, k·out]."""

    def forward(self, features: Tensor) -> Tensor:
        models = len(self.weight)
        rows = features.view(len(features), models, -1).transpose(0, 1)
        columns = self.weight.transpose(1, 2)
        if self.bias is None:
            found = rows.bmm(columns)
        else:
            found = torch.baddbmm(self.bias[:, None], rows, columns)
        return found.transpose(0, 1).flatten(1)


class Slope(nn.PReLU):
    """``weight`` [k, 1] or [k, c]: the slope of each network, or of each of its channels."""

    def forward(self, maps: Tensor) -> Tensor:
        models, slopes = self.weight.shape
        channels = maps.shape[1] // models
        return F.prelu(maps, self.weight.repeat_interleave(channels // slopes, 1).flatten())


class Masked(nn.Dropout):
    """Dropout by a mask [b, k·f] that is drawn separately for each network, outside the stack."""

    shape: tuple[int, ...] = ()
    """The shape of the input, known after a first call."""
    mask: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.shape = tuple(features.shape)
        if not self.training or self.mask is None:
            return features
        return features * self.mask.to(features.dtype)


FORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Convolution,
    nn.BatchNorm2d: Norm,
    nn.Linear: Dense,
    nn.PReLU: Slope,
    nn.Dropout: Masked,
}
UNCHANGED = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish,
    nn.MaxPool2d, nn.AvgPool2d, nn.ZeroPad2d, nn.Flatten, nn.Identity, GlobalAverage,
)  # fmt: skip


def stacked(network: nn.Module, form: Form) -> nn.Module:
    """Return a copy of ``network`` that computes k of its kind, given their tensors as [k, …].

    A layer keeps its settings and its place and only changes its class, so the names of the tensors
    remain those of a single network. Its own tensors are on the meta device, without data.

    Raises:
        Unstackable: A layer, named in the message, has no stacked form.
    """
    twin = copy.deepcopy(network).to("meta")
    for name, layer in twin.named_modules():
        if type(layer) in FORMS:
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                raise Unstackable(f"{name} pads with {layer.padding_mode}")
            layer.__class__ = FORMS[type(layer)]
            if form == "products" and isinstance(layer, Convolution):
                layer.__class__ = Product
        elif not any(layer.children()) and type(layer) not in UNCHANGED:
            raise Unstackable(f"{name} is {type(layer).__qualname__}")
    return twin


def side_by_side(images: Tensor, models: int, form: Form) -> Tensor:
    """Reorder [k·b, c, h, w] (network after network) to [b, k·c, h, w]."""
    count, channels, height, width = images.shape
    maps = images.view(models, count // models, channels, height, width).transpose(0, 1)
    layout = torch.channels_last if form == "grouped" else torch.contiguous_format
    return maps.reshape(count // models, -1, height, width).contiguous(memory_format=layout)


def apart(logits: Tensor, models: int) -> Tensor:
    """Reorder [b, k·classes] to [k, b, classes]."""
    return logits.view(len(logits), models, -1).transpose(0, 1)
