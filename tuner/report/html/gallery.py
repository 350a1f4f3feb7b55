"""Embed the images that the winner's run has written in the report."""

import base64
from pathlib import Path

from tuner.config import directories
from tuner.report.configurations import Row
from tuner.report.html.document import escaped

PICTURES = {
    "learning_curves.svg": "all its metrics, epoch by epoch",
    "confusion.svg": "what it took for what, on the validation images",
    "mistakes.png": "the validation images that it got wrong with the most confidence",
}
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
LARGEST = 400_000
"""Maximum size of an image in bytes, so that the report can still be sent."""


def pictures(row: Row | None, directory: Path) -> str:
    """Return the images in PICTURES of a run inside the study's ``directory`` on this machine.

    As images, they cannot execute anything, and links of these names to other files are not
    followed.
    """
    run_dir = directories.of_run(directory, row.run_dir) if row is not None else None
    if run_dir is None:
        return ""
    folder = run_dir / "artifacts"
    shown = [_figure(folder / n, caption) for n, caption in PICTURES.items() if _fits(folder / n)]
    return f'<div class="gallery">{"".join(shown)}</div>' if shown else ""


def _fits(path: Path) -> bool:
    lies_there = path.resolve() == path.parent.parent.resolve() / "artifacts" / path.name
    return lies_there and path.is_file() and path.stat().st_size <= LARGEST


def _figure(path: Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:{KINDS[path.suffix]};base64,{content}"
    text = escaped(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
