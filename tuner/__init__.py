"""Hyperparameter optimisation for PyTorch CNNs, and for any callable named by ``_target_``.

``tuner.load("export")`` is a model that ``tuner export`` wrote, ready to tell what an image is.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.train.export.predictor import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``load`` brings torch with it, so it is imported when it is first named."""
    if name == "load":
        from tuner.train.export.predictor import load

        return load
    raise AttributeError(f"module 'tuner' has no attribute {name!r}")
