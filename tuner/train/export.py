"""What a run leaves for people: the trained model and the confusion matrix."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from tuner.draw import confusion_svg
from tuner.train.checkpoint import Recipe
from tuner.train.data import Data


def write_model(
    run_dir: Path, network: nn.Module, data: Data, metrics: Mapping[str, float], recipe: Recipe
) -> None:
    """Writes ``model.safetensors`` and, with all that is needed to use it, ``model.json``.

    An input is (grey levels 0 … 255 - mean) / std, in the order channels, height, width.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    card = {
        "classes": list(data.classes),
        "in_shape": list(data.in_shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "metrics": dict(metrics),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "recipe": recipe,
    }
    _replace(run_dir / "model.safetensors", save(tensors))
    _replace(run_dir / "model.json", json.dumps(card, indent=2).encode())


def write_confusion(run_dir: Path, confusion: list[list[int]], data: Data) -> None:
    """Writes ``artifacts/confusion.svg``, which the study keeps with the trial."""
    (run_dir / "artifacts").mkdir(parents=True, exist_ok=True)
    drawing = confusion_svg(confusion, data.classes)
    _replace(run_dir / "artifacts" / "confusion.svg", drawing.encode())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)
