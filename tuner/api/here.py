"""Functions that exist only in this process, such as those of a notebook: ``tuner.api.here.NAME``.

``functions.target`` sets them as attributes of this module, so that ``_target_`` finds them.
"""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    """Raise an error that explains why a name is absent: another process began the study."""
    raise AttributeError(
        f"the function {name!r} was defined in a script or a notebook, and only the process that"
        " defines it can call it"
    )
