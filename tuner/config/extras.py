"""Find the extra of tuner that contains a missing module."""

import importlib.metadata
import re

OWN = "tuner"


def cure(module: str) -> str:
    """Return how to install ``module``: by the extra that contains it, else by its package.

    A distribution whose name starts with the module's (``mlflow-skinny``) counts as well.
    """
    from packaging.requirements import Requirement  # slow to import, for a hint

    name = _normal(module.partition(".")[0])
    for text in _requirements():
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", text)
        brought = _normal(Requirement(text).name)
        if extra and extra[1] != "dev" and f"{brought}-".startswith(f"{name}-"):
            return f"pip install '{OWN}[{extra[1]}]'"
    return f"pip install {name}, or the package that provides the module"


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires(OWN) or []
    except importlib.metadata.PackageNotFoundError:  # run from a directory, not installed
        return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
