"""A model that ``tuner export`` wrote, put to use: ``tuner.load("export")("cat.png").label``."""

import json
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

from tuner.errors import TunerError
from tuner.train import formats, pretrained
from tuner.train.deployed import Deployed, views
from tuner.train.fitting import fitted

Picture = str | PathLike[str] | Image.Image | np.ndarray
OWN = {"tuner.train.model.cnn", "tuner.train.transfer.classifier"}
"""What is built at an export's word alone; any other name is somebody's code."""
BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """``scores`` maps each class to its probability, or the name of each number to its value.

    ``label`` is the most probable class and ``probability`` its own, None where numbers are told.
    """

    scores: Mapping[str, float]
    label: str | None
    probability: float | None


class Predictor:
    """Tells the class of images of any size and mode; made by ``load``."""

    def __init__(self, module: Deployed, card: Mapping[str, Any]) -> None:
        self.module = module.eval()
        self.card = card
        self.classes: Sequence[str] = card["classes"]
        self.in_shape: tuple[int, int, int] = tuple(card["in_shape"])
        """Channels, height, width."""

    def __call__(self, image: Picture) -> Prediction:
        """What one image is: a path, a PIL image, or uint8 [H, W] or [H, W, C].

        Raises: TunerError for what cannot be read as an image.
        """
        return next(self.predict([image]))

    def predict(self, images: Iterable[Picture]) -> Iterator[Prediction]:
        """The same for many, ``BATCH`` at a time.

        Raises: as a call of one, when its turn comes.
        """
        left = iter(images)
        while some := list(islice(left, BATCH)):
            yield from map(self._prediction, self.run(np.stack([self.read(one) for one in some])))

    def run(self, images: np.ndarray) -> np.ndarray:
        """The module's own view: uint8 [b, H, W, C], of its size, → float32 [b, k]."""
        with torch.inference_mode():
            found: Tensor = self.module(torch.from_numpy(images).to(self.module.mean.device))
        return found.cpu().numpy()

    def read(self, image: Picture) -> np.ndarray:
        """The bytes of an image, uint8 [H, W, C], scaled and cut to the size of the training's."""
        channels, height, width = self.in_shape
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8:
                raise TunerError(f"an array of {image.dtype}; hint: grey levels 0 to 255, uint8")
            grey = image.ndim == 3 and image.shape[2] == 1
            image = Image.fromarray(image[..., 0] if grey else image)
        if isinstance(image, Image.Image):
            return fitted(image, (width, height), channels)
        try:
            with Image.open(image) as opened:
                return fitted(opened, (width, height), channels)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise TunerError(f"{image} cannot be read as an image: {error}") from error

    def export(self, form: str, path: Path, examples: Path) -> float:
        """Write the model as ``pt2`` or ``onnx``; see ``formats.write``."""
        return formats.write(self.module, form, path, examples)

    def missing(self, form: str) -> list[str]:
        """The modules that a form takes and that are not installed."""
        return formats.missing(form)

    def _prediction(self, scores: np.ndarray) -> Prediction:
        named = dict(zip(self.classes, map(float, scores), strict=True))
        if self.module.regression:
            return Prediction(named, None, None)
        label = max(named, key=named.__getitem__)
        return Prediction(named, label, named[label])


def load(directory: str | PathLike[str], *, device: str = "cpu", trust: bool = False) -> Predictor:
    """The model in a directory that ``tuner export`` or ``tuner final`` (a seed's) wrote.

    The files are data: only networks of tuner's own are built from them.  One of your own is
    imported by its name with ``trust=True``, from where Python finds it.

    Raises: TunerError for a directory without a model, and for a network that is not trusted.
    """
    path = Path(directory)
    try:
        card = json.loads((path / "model.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TunerError(
            f"{path} holds no model: {error} (hint: the directory that `tuner export` wrote, once"
            " `tuner final` had trained the winner)"
        ) from error
    network = _network(card, trust=trust)
    network.load_state_dict(tensors)
    mean, std = torch.tensor(card["mean"]), torch.tensor(card["std"])
    regression = bool(card.get("regression", False))
    module = Deployed(network, mean, std, views=views(card["recipe"]), regression=regression)
    return Predictor(module.to(device), card)


def _network(card: Mapping[str, Any], *, trust: bool) -> nn.Module:
    """The network of an export, without its weights."""
    recipe, target = card["recipe"], str(card["recipe"]["model"])
    if target not in OWN and not trust:
        raise TunerError(
            f"the model is built by {target}, which is not tuner's own code"
            " (hint: trust=True or --trust imports it; model.onnx needs none of it)"
        )
    module, _, name = target.rpartition(".")
    settings = {
        key.removeprefix("model."): value
        for key, value in recipe.items()
        if key.startswith("model.")
    }
    with pretrained.structure_only():
        built: nn.Module = getattr(import_module(module), name)(
            in_shape=tuple(card["in_shape"]), num_classes=len(card["classes"]), **settings
        )
    return built
