"""Which of tuner's extras brings a module that is not installed."""

import importlib.metadata
import re

from packaging.requirements import Requirement

OWN = "tuner"


def cure(module: str) -> str:
    """How to install what provides ``module``: the extra that names it, else the package.

    A distribution that is named after it (``mlflow-skinny``) brings it as well.
    """
    name = _normal(module.partition(".")[0])
    for text in _requirements():
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", text)
        brought = _normal(Requirement(text).name)
        if extra and extra[1] != "dev" and f"{brought}-".startswith(f"{name}-"):
            return f"pip install '{OWN}[{extra[1]}]'"
    return f"pip install {name}, or whatever provides the module"


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires(OWN) or []
    except importlib.metadata.PackageNotFoundError:  # run from a directory, not installed
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
