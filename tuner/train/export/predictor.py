"""Use a model that ``tuner export`` wrote: ``tuner.load("export")("cat.png").label``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tuner.config.exported_json import OWN
from tuner.config.exported_json import model as read_card
from tuner.errors import TunerError
from tuner.train.data import resize
from tuner.train.export import formats
from tuner.train.export.inference_module import Deployed, views
from tuner.train.model.structure_only import structure_only

Picture = str | PathLike[str] | Image.Image | np.ndarray
BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """``scores`` maps each class to its probability, or the name of each number to its value.

    ``label`` is the most probable class and ``probability`` its probability; both are None for
    regression.
    """

    scores: Mapping[str, float]
    label: str | None
    probability: float | None


class Predictor:
    """Classifies images of any size and mode; created by ``load``.

    Args:
        module: The network, and how its images are prepared.
        card: The contents of ``model.json``.

    Example::

        model = tuner.load("runs/digits/export")
        [found.label for found in model.predict(["cat.png", "dog.png"])]
    """

    def __init__(self, module: Deployed, card: Mapping[str, Any]) -> None:
        self.module = module.eval()
        self.card = card
        self.classes: Sequence[str] = card["classes"]
        self.in_shape: tuple[int, int, int] = tuple(card["in_shape"])
        """Channels, height, width."""

    def __call__(self, image: Picture) -> Prediction:
        """Classify one image: a path, a PIL image, or uint8 [H, W] or [H, W, C].

        Raises:
            TunerError: It cannot be read as an image.
        """
        return next(self.predict([image]))

    def predict(self, images: Iterable[Picture]) -> Iterator[Prediction]:
        """Classify many images, ``BATCH`` at a time.

        Raises:
            TunerError: An image cannot be read; raised when its turn comes.
        """
        left = iter(images)
        while some := list(islice(left, BATCH)):
            yield from map(self._prediction, self.run(np.stack([self.read(one) for one in some])))

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the module itself: uint8 [b, H, W, C] of its size → float32 [b, k].

        Raises:
            TunerError: A custom network has another number of classes.
        """
        with torch.inference_mode():
            found: Tensor = self.module(torch.from_numpy(images).to(self.module.mean.device))
        if found.shape != (len(images), len(self.classes)):
            raise TunerError(
                f"the network returns an array of shape {list(found.shape[1:])} per image, but "
                f"model.json has {len(self.classes)} classes",
                hint="export the model again",
            )
        return found.cpu().numpy()

    def read(self, image: Picture) -> np.ndarray:
        """Return the bytes of an image, uint8 [H, W, C], scaled and cropped as in training."""
        channels, height, width = self.in_shape
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8:
                raise TunerError(
                    f"expected an array of uint8, got {image.dtype}",
                    hint="convert it to grey levels from 0 to 255",
                )
            grey = image.ndim == 3 and image.shape[2] == 1
            image = Image.fromarray(image[..., 0] if grey else image)
        if isinstance(image, Image.Image):
            return resize.fitted(image, (width, height), channels)
        with resize.opened(image) as opened:
            return resize.fitted(opened, (width, height), channels)

    def export(self, form: str, path: Path, examples: Path) -> float:
        """Write the model as ``pt2`` or ``onnx``; see ``formats.write``."""
        return formats.write(self.module, form, path, examples)

    def missing(self, form: str) -> list[str]:
        """Return the modules that a format needs and that are not installed."""
        return formats.missing(form)

    def _prediction(self, scores: np.ndarray) -> Prediction:
        named = dict(zip(self.classes, map(float, scores), strict=True))
        if self.module.regression:
            return Prediction(named, None, None)
        label = max(named, key=named.__getitem__)
        return Prediction(named, label, named[label])


def load(directory: str | PathLike[str], *, device: str = "cpu", trust: bool = False) -> Predictor:
    """Load the model in a directory that ``tuner export`` or ``tuner final`` (a seed's) wrote.

    Args:
        directory: Contains ``model.json`` and ``model.safetensors``.
        device: ``cpu``, or ``cuda:0`` and so on.
        trust: Import a custom network by the name in ``model.json``, which runs its code. Without
            it the files are data only, and tuner's own networks are built from them.

    Returns:
        A callable from one image of any size (a path, a PIL image, or uint8 [H, W] or [H, W, C]) to
        its prediction, which has ``label``, ``probability`` and ``scores``. Its method ``predict``
        does so for many images.

    Raises:
        TunerError: The directory has no model or an altered one, the network is not trusted, or the
            device cannot be used.

    Example::

        import tuner

        model = tuner.load("export")
        print(model("cat.png").label)
    """
    path = Path(directory)
    _check_device(device)
    try:
        card = read_card(path / "model.json")
        tensors = load_file(path / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TunerError(
            f"{path} contains no model: {error}",
            hint="use the directory written by `tuner final` or `tuner export`",
        ) from error
    target = str(card["recipe"]["model"])
    if target not in OWN and not trust:
        raise TunerError(
            f"the model is built by {target}, which is not one of tuner's networks",
            hint="trust=True or --trust imports its code; model.onnx needs no code",
        )
    try:
        module = _deployed(card, tensors)
    except Exception as error:  # the builder and its settings may be anything
        raise TunerError(
            f"{path}: model.json does not match the weights in the same directory: {_brief(error)}",
            hint="export the model again",
        ) from error
    return Predictor(module.to(device), card)


def _check_device(device: str) -> None:
    """Raise ``TunerError`` if a device cannot compute here."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise TunerError(
            f"device {device!r} cannot be used: {_brief(error)}",
            hint="use cpu, or cuda:0 with a GPU",
        ) from error


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _deployed(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Deployed:
    """Return the whole model; the builder may raise any exception for unsuitable settings."""
    recipe = card["recipe"]
    if recipe["model"] in OWN:
        _check_sizes(card, tensors)
    network = _network(card)
    network.load_state_dict(tensors)
    mean, std = torch.tensor(card["mean"]), torch.tensor(card["std"])
    regression = bool(card.get("regression", False))
    return Deployed(network, mean, std, views=views(recipe), regression=regression)


def _check_sizes(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` if there are more layers than weights, or weights have other shapes."""
    for key in ("model.depth", "model.convs"):
        value = card["recipe"].get(key, 0)
        if isinstance(value, int) and value > len(tensors):
            raise ValueError(f"{key}={value}, but {len(tensors)} tensors")
    with torch.device("meta"):  # on which tensors of any size need no memory
        network = _network(card)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name} is {found.get(name)} and should be {wanted.get(name)}")


def _network(card: Mapping[str, Any]) -> nn.Module:
    """Return the network of an export, without its weights."""
    recipe = card["recipe"]
    module, _, name = recipe["model"].rpartition(".")
    own = [key for key in recipe if key.startswith("model.")]
    settings = {key.removeprefix("model."): recipe[key] for key in own}
    with structure_only():
        built: nn.Module = getattr(import_module(module), name)(
            in_shape=tuple(card["in_shape"]), num_classes=len(card["classes"]), **settings
        )
    return built
