"""Write the results of a run: the trained model and the confusion matrix."""

import copy
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tuner.files import replace
from tuner.svg import confusion_svg
from tuner.train.checkpoint.checkpoint import Recipe
from tuner.train.data.tensors import Data
from tuner.train.device import hardware
from tuner.train.export.inference_module import Deployed, views

EXAMPLES = 16


def write_model(
    run_dir: Path, network: nn.Module, data: Data, metrics: Mapping[str, float], recipe: Recipe
) -> None:
    """Write ``model.safetensors`` and, with everything needed to use it, ``model.json``.

    An input is (grey levels 0 … 255 - mean) / std, in the order channels, height, width.
    ``examples.safetensors`` has a few test images and the model's outputs for them, with which
    other formats are compared.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    card = {
        "classes": list(data.classes),
        "regression": data.regression,
        "in_shape": list(data.in_shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "metrics": dict(metrics),
        "learned_from": len(data.train) + len(data.validation),
        "scored_on": len(data.test),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": hardware.name(data.mean.device),
        },
        "recipe": recipe,
    }
    replace(run_dir / "model.safetensors", save(tensors))
    replace(run_dir / "examples.safetensors", save(_examples(network, data, recipe)))
    replace(run_dir / "model.json", json.dumps(card, indent=2))


@torch.inference_mode()
def _examples(network: nn.Module, data: Data, recipe: Recipe) -> dict[str, Tensor]:
    """Return ``images`` uint8 [b, H, W, C] and ``outputs`` float32 [b, k], computed on the CPU."""
    images = data.test.images[:EXAMPLES].cpu().contiguous()
    twin = copy.deepcopy(network).cpu().float()
    module = Deployed(
        twin, data.mean.cpu(), data.std.cpu(), views=views(recipe), regression=data.regression
    )
    return {"images": images, "outputs": module.eval()(images).contiguous()}


def write_confusion(run_dir: Path, confusion: list[list[int]], data: Data) -> None:
    """Write ``artifacts/confusion.svg``, which the study stores with the trial."""
    replace(run_dir / "artifacts" / "confusion.svg", confusion_svg(confusion, data.classes))
