"""torchvision's classifiers, with pretrained weights and a new head."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import Encoder
from torchvision.transforms.v2 import functional as pixels

from tuner.config.bounds import BelowOne, Count, Factor, Share, Whole
from tuner.config.types import validate_arguments
from tuner.errors import ConfigError, Infeasible
from tuner.train.model import pretrained
from tuner.train.model.fine_tuning import Stage, Staged

CONTAINERS = (nn.Sequential, nn.ModuleList, Encoder)
"""Modules that only call their children in sequence; stages are found inside them."""


class Classifier(Staged):
    """A torchvision network behind the preprocessing of its weights, on batches on the device."""

    black: Tensor
    white: Tensor

    def __init__(self, network: nn.Module, preset: Any, size: int | None) -> None:
        """Wrap a network.

        Args:
            preset: torchvision's ImageClassification, or None for no preprocessing.
            size: Replaces the preset's resizing and cropping: the whole image becomes size x size
                pixels.
        """
        super().__init__()
        self.network = network
        self.size = size
        self.preset = preset
        if preset is not None:
            self.mean = [255 * value for value in preset.mean]
            self.std = [255 * value for value in preset.std]
            mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
            self.register_buffer("black", -mean / std, persistent=False)
            self.register_buffer("white", (255 - mean) / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised float [b, 1 or 3, h, w] to logits [b, num_classes]; grey becomes RGB."""
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        logits: Tensor = self.network(self._resized(images))
        return logits

    def _resized(self, images: Tensor) -> Tensor:
        if self.size is not None:
            return _resize(images, [self.size, self.size])
        if self.preset is None:
            return images
        preset = self.preset
        images = _resize(images, preset.resize_size, preset.interpolation, preset.antialias)
        cropped: Tensor = pixels.center_crop(images, preset.crop_size)
        if preset.interpolation == pixels.InterpolationMode.BICUBIC:  # it overshoots
            cropped = cropped.clamp(self.black, self.white)
        return cropped


def _resize(
    images: Tensor,
    size: list[int],
    interpolation: pixels.InterpolationMode = pixels.InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Tensor:
    if list(images.shape[2:]) == size:
        return images
    resized: Tensor = pixels.resize(images, size, interpolation, antialias=antialias)
    return resized.contiguous(memory_format=torch.channels_last)


def check(
    in_shape: tuple[int, int, int], num_classes: int, *, name: str, weights: str | None, **_: object
) -> None:
    """Check the settings of a ``classifier`` without loading its weights.

    Raises:
        ConfigError: A setting is invalid.
    """
    _check_name(name)
    if in_shape[0] not in (1, 3):
        raise ConfigError(
            f"model=torchvision takes 1 or 3 channels, these images have {in_shape[0]}"
        )
    pretrained.check(name, weights)


@validate_arguments("model")
def classifier(
    in_shape: tuple[int, int, int],
    num_classes: int,
    *,
    name: str,
    weights: str | None,
    size: Count | None,
    dropout: BelowOne | None,
    freeze: Whole | Share,
    unfreeze_epoch: Whole,
    layer_decay: Factor,
) -> Classifier:
    """Build ``name`` with ``weights`` and a new head for images of ``in_shape``.

    Raises:
        ConfigError: torchvision does not know a name, or a file does not fit.
        TunerError: Weights can be neither found nor downloaded.
        Infeasible: The network cannot process such images.
    """
    check(in_shape, num_classes, name=name, weights=weights)
    loaded, preset = pretrained.load(name, weights)
    head = _swap_head(loaded, num_classes, dropout)
    network = Classifier(loaded, preset, size)
    _check_fits(network, name, in_shape[1:])
    network.set_stages(
        stages(loaded, head),
        freeze=freeze,
        unfreeze_epoch=unfreeze_epoch,
        layer_decay=layer_decay,
    )
    return network


classifier.__dict__["check"] = check


def _check_name(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known[:8]
        raise ConfigError(
            f"{name} is not a classifier of torchvision", key="model.name", hint=", ".join(near)
        )


def _swap_head(network: nn.Module, num_classes: int, dropout: float | None) -> nn.Module:
    """Replace the last layer, and all of the network's dropout by ``dropout`` before it."""
    name = pretrained.head_of(network)
    old = network.get_submodule(name)
    if isinstance(old, nn.Conv2d):  # SqueezeNet's
        new: nn.Module = nn.Conv2d(old.in_channels, num_classes, old.kernel_size)  # type: ignore[arg-type]
    else:
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    if dropout is not None:
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        new = nn.Sequential(nn.Dropout(dropout), new)
    network.set_submodule(name, new)
    return new


def stages(network: nn.Module, head: nn.Module) -> list[Stage]:
    """Return modules and single parameters in order of depth, ``head`` alone at the end.

    Norms belong to the modules before them, class tokens and position codes to the first stage.
    """
    found: list[list[nn.Module | nn.Parameter]] = []
    lone: list[nn.Module | nn.Parameter] = []
    for unit in _units(network, head):
        if unit is head:
            continue
        if isinstance(unit, nn.Parameter):
            lone.append(unit)
        elif found and all(parameter.ndim < 2 for parameter in unit.parameters()):
            found[-1].append(unit)
        else:
            found.append([unit])
    found[0] += lone
    return [*found, [head]]


def _units(module: nn.Module, head: nn.Module) -> Iterator[nn.Module | nn.Parameter]:
    yield from module.parameters(recurse=False)
    for child in module.children():
        if isinstance(child, CONTAINERS) and child is not head:
            yield from _units(child, head)
        else:
            yield child


def _check_fits(network: Classifier, name: str, image: Sequence[int]) -> None:
    """Raise ``Infeasible``, without computing, if the network cannot process such images."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    images = torch.zeros(1, 3, *image, device="meta")
    try:
        torch.func.functional_call(network.eval(), shapes, (images,))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise Infeasible(
            f"{name} cannot process images of {image[0]}x{image[1]} pixels "
            f"with model.size={network.size}: {error}",
            hint="model.size=64, or 224",
        ) from error
