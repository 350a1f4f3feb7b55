"""Image files in a directory a class, decoded by as many processes as wanted.

Imports no torch, so that a decoding process starts at once.
"""

import functools
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tuner.errors import TunerError
from tuner.train import fitting

logger = logging.getLogger("tuner")

DARK = 16
"""An image without a grey level of that, of 255, looks black: 12 bits in a file of 16 do."""


DARKNESS = f"no grey level above {DARK - 1} of 255, such as 12 bits in a file of 16"


def examine(file: Path, channels: int) -> tuple[str, ...]:
    """What is done to an image beside scaling it, in words, and DARKNESS if it has that.

    Of most images the header alone is read, and only once while the file stays the same.

    Raises: TunerError for a file that is no image, or has pixels that ``read`` refuses.
    """
    status = os.stat(file)
    return _examined(file, channels, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _examined(file: Path, channels: int, changed: int, length: int) -> tuple[str, ...]:
    with fitting.opened(file) as image:
        found = tuple(fitting.conversions(image, channels))
        is_dark = fitting.is_deep(image) and _is_dark(fitting.fitted(image, (64, 64), channels))
        return (*found, DARKNESS) if is_dark else found


def _is_dark(image: np.ndarray) -> bool:
    return bool(image.max() < DARK)


def fingerprint(root: Path, files: Sequence[Path]) -> str:
    """A digest of the names and sizes of the files.

    Not of the pixels: libraries decode JPEG to a grey level's difference, and the machines of one
    study may have several versions.
    """
    listed = [f"{file.relative_to(root)} {file.stat().st_size}\n" for file in files]
    return hashlib.sha256(os.fsencode("".join(listed))).hexdigest()[:16]


def read(files: Sequence[Path], size: int, channels: int, workers: int) -> np.ndarray:
    """The images as uint8 [n, size, size, channels]: the shorter side scaled, the middle cut out.

    ``channels`` 1 is grey, 3 is RGB.  With ``workers`` 0 this process does it alone.

    Raises: TunerError naming the file that cannot be read, or for a worker that died.
    """
    images = np.empty((len(files), size, size, channels), np.uint8)
    decode = functools.partial(_decoded, size=size, channels=channels)
    dark = 0
    for place, image in enumerate(_mapped(decode, files, workers)):
        images[place] = image
        dark += _is_dark(image)
    if dark > len(files) / 10:
        logger.warning(
            "%d of %d images have %s; hint: scale them to the whole range",
            dark, len(files), DARKNESS,
        )  # fmt: skip
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
            f"a data worker died while reading {files[0].parent.parent}",
            hint=f"killed for want of memory? data.workers={workers // 2} takes "
            "less; 0 shows what the image is",
        ) from error


def _decoded(file: Path, size: int, channels: int) -> np.ndarray:
    with fitting.opened(file) as image:
        return fitting.fitted(image, (size, size), channels)
