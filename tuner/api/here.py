"""Functions that only this process has, such as those of a notebook: ``tuner.api.here.NAME``.

``functions.target`` sets them as attributes of this module, so that ``_target_`` finds them.
"""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    """Say why a name is absent: the study was begun by another process."""
    raise AttributeError(
        f"the function {name!r} was defined in a script or a notebook, and only the process that"
        " defines it can call it"
    )
