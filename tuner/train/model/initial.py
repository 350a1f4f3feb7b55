"""Start a network from the weights of another training."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from tuner.errors import ConfigError
from tuner.log import first
from tuner.train.checkpoint import checkpoint, checksummed_file

SHOWN = 3
"""Maximum number of differences that a message names."""


def load(network: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint, or of a ``.safetensors`` file, into a network.

    If a checkpoint has averaged weights (``trainer.ema``), they are used.

    Raises:
        ConfigError: The file cannot be read, or has other weights than the network.
    """
    try:
        weights = _read(path)
    except (OSError, checksummed_file.Damaged, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path} has no weights: {error}",
            key="trainer.initial",
            hint="use the checkpoint.pt of a run directory, or the model.safetensors of an export",
        ) from error
    if differences := _differences(network.state_dict(), weights):
        raise ConfigError(
            f"{path} belongs to another network: {first(differences, SHOWN, '; ')}",
            key="trainer.initial",
            hint="use the settings model.* of the training that wrote it",
        )
    network.load_state_dict(weights)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    learner = checkpoint.read(path)["learner"]
    weights: dict[str, Tensor] = learner.get("average", learner["network"])
    return weights


def _differences(own: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    differences = [f"it has no {name}" for name in own if name not in found]
    differences += [f"{name} is not of this network" for name in found if name not in own]
    differences += [
        f"{name} is {list(found[name].shape)} there, {list(tensor.shape)} here"
        for name, tensor in own.items()
        if name in found and found[name].shape != tensor.shape
    ]
    return differences
