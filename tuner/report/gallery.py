"""The pictures that the winner's own run left, put into the page."""

import base64
from pathlib import Path

from tuner import directories
from tuner.report.document import escaped
from tuner.report.rows import Row

PICTURES = {
    "learning_curves.svg": "all its metrics, epoch by epoch",
    "confusion.svg": "what it took for what, on the validation images",
    "mistakes.png": "the validation images that it got wrong with the most confidence",
}
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
LARGEST = 400_000
"""Bytes of a picture: a page must stay one that can be sent."""


def pictures(row: Row | None, directory: Path) -> str:
    """Those of PICTURES that lie where the run was, in the study's ``directory`` on this machine.

    As images they run nothing; nor is another file shown that a link of their name leads to.
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
