"""Data sets, their splits and augmentation, and batches of them.

``__all__`` lists what a data set of your own needs. These names are imported when they are first
used, because some modules of this package are used without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.train.data.augment import Augment
    from tuner.train.data.dataset import place
    from tuner.train.data.tensors import Arrays, Data

__all__ = ["Arrays", "Augment", "Data", "place"]

_MODULES = {
    "Arrays": "tuner.train.data.tensors",
    "Augment": "tuner.train.data.augment",
    "Data": "tuner.train.data.tensors",
    "place": "tuner.train.data.dataset",
}


def __getattr__(name: str) -> object:
    """Import a public name, see PEP 562."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
