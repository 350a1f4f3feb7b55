"""Hyperparameter optimisation for PyTorch CNNs, and for any callable named by ``_target_``.

The public API for Python consists of the names in ``__all__`` here, in ``tuner.objective`` and in
``tuner.train.data``; every other name may change in any release. Names are imported when they are
first used, so ``import tuner`` does not import torch, Optuna or Hydra.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.api.final import Final
    from tuner.api.plots import Plot
    from tuner.api.search import open, search
    from tuner.api.study import Study
    from tuner.api.trial import Trial
    from tuner.config.bounds import Bounds
    from tuner.errors import ConfigError, Infeasible, TunerError
    from tuner.train.export.predictor import Predictor, load

__all__ = ["Bounds", "ConfigError", "Final", "Infeasible", "Plot", "Predictor", "Study", "Trial",
           "TunerError", "load", "open", "search"]  # fmt: skip
__version__ = "0.1.0"

_MODULES = {
    "Bounds": "tuner.config.bounds",
    "ConfigError": "tuner.errors",
    "Final": "tuner.api.final",
    "Infeasible": "tuner.errors",
    "Plot": "tuner.api.plots",
    "Predictor": "tuner.train.export.predictor",
    "Study": "tuner.api.study",
    "Trial": "tuner.api.trial",
    "TunerError": "tuner.errors",
    "search": "tuner.api.search",
    "open": "tuner.api.search",
    "load": "tuner.train.export.predictor",
}


def __getattr__(name: str) -> object:
    """Import a public name, see PEP 562."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
