"""The pictures that the winner's own run left, put into the page."""

import base64
from pathlib import Path

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


def pictures(row: Row) -> str:
    """Those of PICTURES that lie where the run was, if that is here; as images they run nothing."""
    folder = Path(row.run_dir or "") / "artifacts"
    shown = [
        _figure(folder / name, caption)
        for name, caption in PICTURES.items()
        if row.run_dir and _fits(folder / name)
    ]
    return f'<div class="gallery">{"".join(shown)}</div>' if shown else ""


def _fits(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST


def _figure(path: Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:{KINDS[path.suffix]};base64,{content}"
    text = escaped(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
