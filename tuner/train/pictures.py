"""Image files in a directory a class, decoded by as many processes as wanted.

Imports no torch, so that a decoding process starts at once.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tuner.errors import TunerError
from tuner.train.fitting import fitted

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def find(root: Path) -> dict[str, list[Path]]:
    """The image files of each class, which is a directory below ``root``, sorted by name.

    Raises: TunerError where there are no classes, or one without an image.
    """
    directories = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    classes = {
        path.name: sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        for path in sorted(directories)
        if not path.name.startswith(".")
    }
    empty = [name for name, files in classes.items() if not files]
    if len(classes) < 2 or empty:
        found = f"no image in {', '.join(empty[:5])}" if empty else f"{len(classes)} classes"
        raise TunerError(
            f"data.root={root}: {found} (hint: a directory with one directory of images"
            f" a class, two classes or more; known are {' '.join(sorted(SUFFIXES))})"
        )
    return classes


def check(file: Path) -> None:
    """Raises: TunerError for a file whose header is no image's."""
    with _explained(file), Image.open(file):
        pass


def fingerprint(root: Path, files: Sequence[Path]) -> str:
    """A digest of the names and sizes of the files.

    Not of the pixels: libraries decode JPEG to a grey level's difference, and the machines of one
    study may have several versions.
    """
    listed = [f"{file.relative_to(root)} {file.stat().st_size}\n" for file in files]
    return hashlib.sha256("".join(listed).encode()).hexdigest()[:16]


def read(files: Sequence[Path], size: int, channels: int, workers: int) -> np.ndarray:
    """The images as uint8 [n, size, size, channels]: the shorter side scaled, the middle cut out.

    ``channels`` 1 is grey, 3 is RGB.  With ``workers`` 0 this process does it alone.

    Raises: TunerError naming the file that cannot be read, or for a worker that died.
    """
    images = np.empty((len(files), size, size, channels), np.uint8)
    decode = functools.partial(_decoded, size=size, channels=channels)
    for place, image in enumerate(_mapped(decode, files, workers)):
        images[place] = image
    return images


def _mapped(
    decode: "functools.partial[np.ndarray]", files: Sequence[Path], workers: int
) -> Iterator[np.ndarray]:
    if not workers:
        yield from map(decode, files)
        return
    try:
        # Not forked: a child of a process that holds a GPU, or threads, may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(decode, files, chunksize=64)
    except BrokenProcessPool as error:
        raise TunerError(
            f"a data worker died while reading {files[0].parent.parent} (hint: killed for want of"
            f" memory? data.workers={workers // 2} takes less; 0 shows what the image is)"
        ) from error


def _decoded(file: Path, size: int, channels: int) -> np.ndarray:
    with _explained(file), Image.open(file) as image:
        return fitted(image, (size, size), channels)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """TunerError for what Pillow says of a file that is no image."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TunerError(
            f"{file} cannot be read as an image: {error} (hint: replace it or take it away)"
        ) from error
