"""Locate the packaged files that are not Python code."""

from pathlib import Path


def directory(name: str) -> Path:
    """Return the path of ``conf`` or ``template``: in the wheel, or beside the package."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
