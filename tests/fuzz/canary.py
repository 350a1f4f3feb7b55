"""Code that input from outside must never run, and a secret that must never be shown.

Whatever could name code (``_target_``, a pickle, a YAML tag, an option word) names ``sing``.
"""

from pathlib import Path

SECRET = "-".join(["pl4nted", "s3cret"])
"""In the environment, under the name ``VARIABLE``; put together, as hypothesis draws literals."""
VARIABLE = "TUNER_TEST_SECRET"
NAME = f"{__name__}.sing"

sung: list[object] = []


def sing(*args: object, **keywords: object) -> float:
    """Note that it was called."""
    sung.append((args, keywords))
    return 1.0


class Pickled:
    """Unpickling it calls ``sing``."""

    def __reduce__(self) -> tuple[object, ...]:
        return sing, ("unpickled",)


def plant(directory: Path) -> None:
    """A module ``evil`` that sings when it is imported, for ``--app`` and ``_target_``."""
    text = f"from {__name__} import sing\nsing('imported')\ntrain = main = sing\n"
    (directory / "evil.py").write_text(text)
