"""Load pretrained weights: torchvision's by name, downloaded once, or a local file's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from tuner.errors import ConfigError, TunerError
from tuner.train.model.structure_only import is_structure_only

FILES = (".pth", ".pt", ".safetensors")
AUXILIARY = ("googlenet", "inception_v3")


def check(name: str, weights: str | None) -> None:
    """Check that weights are known to torchvision or are a file.

    Raises:
        ConfigError: They are neither.
    """
    known = models.get_model_weights(name).__members__
    if weights is None or weights in known:
        return
    if not weights.endswith(FILES):
        raise ConfigError(
            f"{name} has no weights {weights}",
            key="model.weights",
            hint=f"null, {', '.join(known)}, or a file that ends in {', '.join(FILES)}",
        )
    if not Path(weights).expanduser().is_file():
        raise ConfigError(f"{weights}: file not found", key="model.weights")


def load(name: str, weights: str | None) -> tuple[nn.Module, Any]:
    """Return the network and the preset of its preprocessing, None for random weights."""
    check(name, weights)
    known = models.get_model_weights(name)
    if weights is None:
        return _untrained(name), None
    if is_structure_only():
        return _untrained(name), known.__members__.get(weights, known.DEFAULT).transforms()
    if weights.endswith(FILES):
        network = _untrained(name)
        _load_file(network, Path(weights).expanduser())
        if name in AUXILIARY:  # their weights were trained with it
            network.__dict__["transform_input"] = True
        return network, known.DEFAULT.transforms()
    try:
        network = models.get_model(name, weights=known[weights])
    except OSError as error:
        raise TunerError(
            f"the weights {name} {weights} are not in "
            f"{torch.hub.get_dir()}/checkpoints and could not be downloaded "
            f"from {known[weights].url}: {error}",
            hint="model.weights=FILE",
        ) from error
    return _one_headed(network), known[weights].transforms()


def _untrained(name: str) -> nn.Module:
    options = {"init_weights": True} if name in AUXILIARY else {}  # avoids a warning
    return _one_headed(models.get_model(name, weights=None, **options))


def _one_headed(network: nn.Module) -> nn.Module:
    """Remove the auxiliary heads with which GoogLeNet and Inception are trained."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(network, name):
            setattr(network, name, None)
            network.__dict__["aux_logits"] = False
    return network


def _load_file(network: nn.Module, path: Path) -> None:
    """Load all weights except the head, whose size in the file may differ."""
    tensors = _read(path)
    head = f"{head_of(network)}."
    own = network.state_dict()
    wanted = {key for key in own if not key.startswith(head)}
    missing = sorted(k for k in wanted if k not in tensors or tensors[k].shape != own[k].shape)
    if missing:
        raise ConfigError(
            f"{path} does not fit: {len(missing)} of {len(wanted)} tensors "
            f"are missing or of another shape, such as {missing[0]}",
            key="model.weights",
            hint="use a state_dict of the network model.name",
        )
    network.load_state_dict({key: tensors[key] for key in wanted}, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return a state_dict; the prefix is removed from names that this trainer has exported."""
    if path.suffix == ".safetensors":
        tensors: Mapping[str, Tensor] = load_file(path)
    else:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {key.removeprefix("network."): tensor for key, tensor in tensors.items()}


def head_of(network: nn.Module) -> str:
    """Return the name of the last layer with 1,000 logits, ImageNet's."""
    found = [
        name
        for name, layer in network.named_modules()
        if getattr(layer, "out_features", getattr(layer, "out_channels", None)) == 1000
    ]
    return str(found[-1])
