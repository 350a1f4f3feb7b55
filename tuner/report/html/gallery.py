"""Embed the images that the winner's run has written into the report."""

import base64
from pathlib import Path

from tuner.config import directories
from tuner.report.configurations import Row

PICTURES = {
    "learning_curves.svg": "all metrics by epoch",
    "confusion.svg": "confusion matrix on the validation images",
    "mistakes.png": "misclassified validation images with the highest confidence",
}
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
LARGEST = 400_000
"""Maximum size of an image in bytes, so that the report can still be sent."""


def pictures(row: Row | None, directory: Path) -> list[tuple[str, str]]:
    """Return the PICTURES of a run inside the study's ``directory`` here, as URLs with captions.

    As images, they cannot execute anything, and links of these names to other files are not
    followed.
    """
    run_dir = directories.of_run(directory, row.run_dir) if row is not None else None
    if run_dir is None:
        return []
    folder = run_dir / "artifacts"
    paths = {folder / name: caption for name, caption in PICTURES.items()}
    return [(_embedded(path), caption) for path, caption in paths.items() if _fits(path)]


def _fits(path: Path) -> bool:
    lies_there = path.resolve() == path.parent.parent.resolve() / "artifacts" / path.name
    return lies_there and path.is_file() and path.stat().st_size <= LARGEST


def _embedded(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{KINDS[path.suffix]};base64,{content}"
