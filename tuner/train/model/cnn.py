"""The ``cnn``: blocks of convolutions, norm, activation and pooling, and a dense head.

Every feature map's size is computed before a layer is created, so a network that does not fit its
images costs nothing, and the error names the block at fault.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from tuner.config.bounds import BelowOne, Count, Positive, Whole
from tuner.config.types import validate_arguments
from tuner.errors import ConfigError, Infeasible
from tuner.train.model import blocks
from tuner.train.model.blocks import ACTIVATIONS, Activation, Block, Padding
from tuner.train.model.structure_only import is_structure_only

Size = tuple[int, int]
Pooling = Literal["max", "avg", "none"]
Initialisation = Literal["kaiming", "xavier", "default"]

POOLINGS: dict[str, Callable[[int], nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


@validate_arguments("model")
def cnn(
    in_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: Count,
    convs: Count,
    width: Count,
    growth: Positive,
    widths: list[Count] | None,
    kernel_size: Count | list[Count],
    stride: Count,
    padding: Padding,
    pooling: Pooling,
    batch_norm: bool,
    activation: Activation,
    head: Literal["average", "flatten"],
    hidden: Whole,
    dropout: BelowOne,
    initialisation: Initialisation,
    block: Block = "plain",
    squeeze: Whole = 0,
    drop_path: BelowOne = 0.0,
) -> nn.Sequential:
    """Build the network for images of ``in_shape`` (channels, height, width).

    It maps float [b, channels, height, width] to logits [b, num_classes]. A list of kernel sizes
    gives one to each block, and is repeated if it is shorter than the network. ``drop_path`` is the
    last block's rate of stochastic depth; the rate rises linearly to it.

    Raises:
        Infeasible: A feature map has size zero; the message names the block and the sizes.
    """
    channels, height, image_width = in_shape
    channel_counts, kernels = _checked(depth, width, growth, widths, kernel_size)
    _check_block(block, drop_path)
    chosen = [kernels[block % len(kernels)] for block in range(depth)]
    sizes = feature_sizes((height, image_width), chosen, convs, stride, padding, pooling)

    network = nn.Sequential()
    for number, (kernel, out_channels) in enumerate(zip(chosen, channel_counts, strict=True), 1):
        layers = blocks.block(
            block, channels, out_channels, convs=convs, kernel=kernel, stride=stride,
            padding=padding, norm=batch_norm, activation=activation, squeeze=squeeze,
            drop=drop_path * number / depth,
        )  # fmt: skip
        if pooling != "none":
            layers = blocks.pooled(layers, POOLINGS[pooling](2))
        network.add_module(f"block{number}", layers)
        channels = out_channels
    network.add_module(
        "head", _head(channels, sizes[-1], num_classes, head, hidden, dropout, activation)
    )
    initialise(network, initialisation)
    return network


def check(
    in_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int,
    width: int,
    growth: float,
    widths: list[int] | None,
    kernel_size: int | list[int],
    block: Block = "plain",
    drop_path: float = 0.0,
    **_: object,
) -> None:
    """Check the settings that are invalid for images of any size, without building a network.

    Raises:
        ConfigError: A setting is invalid.
    """
    _checked(depth, width, growth, widths, kernel_size)
    _check_block(block, drop_path)


cnn.__dict__["check"] = check


def feature_sizes(
    size: Size, kernels: Sequence[int], convs: int, stride: int, padding: Padding, pooling: Pooling
) -> list[Size]:
    """Return height and width after each block, from the image's ``size``.

    Raises:
        Infeasible: A block leaves nothing.
    """
    sizes: list[Size] = []
    for block, kernel in enumerate(kernels, start=1):
        before = after = size if not sizes else sizes[-1]
        for conv in range(convs):
            after = _after_conv(after, kernel, stride if conv == 0 else 1, padding)
        if pooling != "none":
            after = (after[0] // 2, after[1] // 2)
        if min(after) < 1:
            raise Infeasible(
                f"block {block} of {len(kernels)} leaves nothing of its "
                f"{before[0]}x{before[1]} feature map: {convs} "
                f"convolution(s) of kernel_size={kernel}, stride={stride}, "
                f"padding={padding}, then pooling={pooling}, on "
                f"images of {size[0]}x{size[1]}",
                hint="smaller model.depth, kernel_size or stride, padding=same, pooling=none",
            )
        sizes.append(after)
    return sizes


def _after_conv(size: Size, kernel: int, stride: int, padding: Padding) -> Size:
    """Return ceil(size / stride) for ``same``, the number of whole windows for ``valid``."""
    if padding == "same":
        return -(-size[0] // stride), -(-size[1] // stride)
    return max(0, (size[0] - kernel) // stride + 1), max(0, (size[1] - kernel) // stride + 1)


def _head(
    channels: int,
    size: Size,
    num_classes: int,
    kind: Literal["average", "flatten"],
    hidden: int,
    dropout: float,
    activation: Activation,
) -> nn.Sequential:
    """Return the head from the last feature map to logits, with a hidden layer if requested."""
    features = channels if kind == "average" else channels * size[0] * size[1]
    head = nn.Sequential(GlobalAverage() if kind == "average" else nn.Flatten())
    if hidden:
        head += nn.Sequential(
            nn.Dropout(dropout), nn.Linear(features, hidden), ACTIVATIONS[activation]()
        )
        features = hidden
    head += nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))
    return head


class GlobalAverage(nn.Module):
    """[b, c, h, w] → [b, c]; a mean, because adaptive pooling's backward is not deterministic."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def initialise(network: nn.Module, scheme: Initialisation) -> None:
    """Initialise convolutions and dense layers (He 2015 or Glorot 2010) with zero biases.

    Networks whose weights come from elsewhere are left as they are: on the meta device, normal
    numbers take a second of imports.
    """
    if scheme == "default" or is_structure_only():
        return
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if scheme == "kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _checked(
    depth: int, width: int, growth: float, widths: list[int] | None, kernel_size: int | list[int]
) -> tuple[list[int], list[int]]:
    """Return the width of each block, and the kernel sizes, which are repeated."""
    widths = list(widths) if widths else [round(width * growth**block) for block in range(depth)]
    kernels = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
    if len(widths) != depth:
        raise ConfigError(
            f"{widths} has {len(widths)} entries, model.depth={depth}",
            key="model.widths",
            hint=f"model.depth={len(widths)}, or model.widths=null to use width and growth",
        )
    if min(widths) < 1 or min(kernels, default=0) < 1:
        raise ConfigError(
            f"a network of widths {widths} and kernel sizes {kernels} cannot be built",
            hint="raise model.width or model.growth; model.kernel_size=3 or [3,5]",
        )
    return widths, kernels


def _check_block(block: Block, drop_path: float) -> None:
    if drop_path and block != "residual":
        raise ConfigError(
            f"{drop_path} skips residual blocks, but model.block={block} has none",
            key="model.drop_path",
            hint="set model.block=residual, or search drop_path only for that option",
        )
