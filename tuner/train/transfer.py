"""Any of torchvision's classifiers, with weights learned elsewhere and a head of its own."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import Encoder
from torchvision.transforms.v2 import functional as pixels

from tuner.errors import ConfigError, Infeasible, TunerError
from tuner.train.staged import Stage, Staged

FILES = (".pth", ".pt", ".safetensors")
AUXILIARY = ("googlenet", "inception_v3")
CONTAINERS = (nn.Sequential, nn.ModuleList, Encoder)
"""Modules that only call their children one after the other: stages lie in them."""


class Classifier(Staged):
    """A torchvision network behind the preprocessing of its weights, on the device and in batch."""

    black: Tensor
    white: Tensor

    def __init__(self, network: nn.Module, preset: Any, size: int | None) -> None:
        """``preset`` is torchvision's ImageClassification, or None for no preprocessing.

        ``size`` replaces its resizing and cropping: the whole image becomes size x size pixels.
        """
        super().__init__()
        self.network = network
        self.size = size
        self.preset = preset
        if preset is not None:
            self.mean = [255 * value for value in preset.mean]
            self.std = [255 * value for value in preset.std]
            mean, std = (
                torch.tensor(self.mean)[:, None, None],
                torch.tensor(self.std)[:, None, None],
            )
            self.register_buffer("black", -mean / std, persistent=False)
            self.register_buffer("white", (255 - mean) / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised float [b, 1 or 3, h, w] → logits [b, num_classes]; grey becomes colour."""
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
        if preset.interpolation == pixels.InterpolationMode.BICUBIC:  # it oversteps black and white
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


def classifier(
    in_shape: tuple[int, int, int],
    num_classes: int,
    *,
    name: str,
    weights: str | None,
    size: int | None,
    dropout: float | None,
    freeze: int | float,
    unfreeze_epoch: int,
    layer_decay: float,
) -> Classifier:
    """Builds ``name`` with ``weights`` and a new head for images of ``in_shape``.

    Raises: ConfigError for names that torchvision does not know and files that do not fit, with
    what would; TunerError where weights can be neither found nor fetched; Infeasible for images
    that the network cannot take.
    """
    _check_name(name)
    channels, *image = in_shape
    if channels not in (1, 3):
        raise ConfigError(f"model=torchvision takes 1 or 3 channels, these images have {channels}")
    loaded, preset = _load(name, weights)
    head = _swap_head(loaded, num_classes, dropout)
    network = Classifier(loaded, preset, size)
    _check_fits(network, name, image)
    network.set_stages(
        stages(loaded, head),
        freeze=freeze,
        unfreeze_epoch=unfreeze_epoch,
        layer_decay=layer_decay,
    )
    return network


def _check_name(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known[:8]
        raise ConfigError(
            f"model.name={name} is no classifier of torchvision (hint: {', '.join(near)})"
        )


def _load(name: str, weights: str | None) -> tuple[nn.Module, Any]:
    """The network and the preset of its preprocessing, None where it starts from noise."""
    known = models.get_model_weights(name)
    if weights is None:
        return _untrained(name), None
    if weights.endswith(FILES):
        network = _untrained(name)
        _load_file(network, Path(weights).expanduser())
        if name in AUXILIARY:  # their weights were ported with it
            network.__dict__["transform_input"] = True
        return network, known.DEFAULT.transforms()
    if weights not in known.__members__:
        raise ConfigError(
            f"model.weights={weights} is not known for {name} (hint: null,"
            f" {', '.join(known.__members__)}, or a file that ends in {', '.join(FILES)})"
        )
    try:
        network = models.get_model(name, weights=known[weights])
    except OSError as error:
        raise TunerError(
            f"the weights {name} {weights} are not in {torch.hub.get_dir()}/checkpoints and could"
            f" not be fetched from {known[weights].url}: {error} (hint: model.weights=FILE)"
        ) from error
    return _one_headed(network), known[weights].transforms()


def _untrained(name: str) -> nn.Module:
    options = {"init_weights": True} if name in AUXILIARY else {}  # else they warn
    return _one_headed(models.get_model(name, weights=None, **options))


def _one_headed(network: nn.Module) -> nn.Module:
    """Takes away the further heads that GoogLeNet and Inception train with."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(network, name):
            setattr(network, name, None)
            network.__dict__["aux_logits"] = False
    return network


def _load_file(network: nn.Module, path: Path) -> None:
    """Loads all but the head, of which the file may have another one.

    Raises: ConfigError where the file is missing or of another network.
    """
    if not path.is_file():
        raise ConfigError(f"model.weights={path}: there is no such file")
    tensors = _read(path)
    head = f"{_head(network)}."
    own = network.state_dict()
    wanted = {key for key in own if not key.startswith(head)}
    missing = sorted(k for k in wanted if k not in tensors or tensors[k].shape != own[k].shape)
    if missing:
        raise ConfigError(
            f"model.weights={path} does not fit: {len(missing)} of {len(wanted)} tensors are"
            f" missing or of another shape, such as {missing[0]} (hint: a state_dict of the network"
            " that model.name names)"
        )
    network.load_state_dict({key: tensors[key] for key in wanted}, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    """A state_dict; the names of one that this trainer exported lose their prefix."""
    if path.suffix == ".safetensors":
        tensors: Mapping[str, Tensor] = load_file(path)
    else:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {key.removeprefix("network."): tensor for key, tensor in tensors.items()}


def _head(network: nn.Module) -> str:
    """The name of the last layer that gives 1,000 logits, ImageNet's."""
    found = [
        name
        for name, layer in network.named_modules()
        if getattr(layer, "out_features", getattr(layer, "out_channels", None)) == 1000
    ]
    return str(found[-1])


def _swap_head(network: nn.Module, num_classes: int, dropout: float | None) -> nn.Module:
    """Puts in a new last layer, with ``dropout`` before it in place of all the network's own."""
    name = _head(network)
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
    """Modules and lone parameters of a network in the order of depth, ``head`` alone at the end.

    Norms belong to what comes before them, class tokens and position codes to the first stage.
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


def _check_fits(network: Classifier, name: str, image: list[int]) -> None:
    """Raises: Infeasible where the network cannot take such images; nothing is computed."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    images = torch.zeros(1, 3, *image, device="meta")
    try:
        torch.func.functional_call(network.eval(), shapes, (images,))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise Infeasible(
            f"{name} does not take images of {image[0]}x{image[1]} pixels with"
            f" model.size={network.size}: {error} (hint: model.size=64, or 224)"
        ) from error
