"""Where the files lie that ship with the package and are not Python's."""

from pathlib import Path


def directory(name: str) -> Path:
    """``conf`` or ``template``: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
