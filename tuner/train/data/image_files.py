"""Read image files in one directory per class, decoded by several processes.

This module does not import torch, so that a decoding process starts at once.
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
from tuner.train.data import resize

logger = logging.getLogger("tuner")

DARK = 16
"""An image whose largest grey level, of 255, is below this looks black, such as 12 bits in 16."""


DARKNESS = f"no grey level above {DARK - 1} of 255, such as 12 bits in a file of 16"


def examine(file: Path, channels: int) -> tuple[str, ...]:
    """Return how an image is converted, besides scaling, and DARKNESS if it is dark.

    For most images, only the header is read, and only once while the file is unchanged.

    Raises:
        TunerError: The file is not an image, or has pixels that ``read`` refuses.
    """
    status = os.stat(file)
    return _examined(file, channels, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _examined(file: Path, channels: int, changed: int, length: int) -> tuple[str, ...]:
    with resize.opened(file) as image:
        found = tuple(resize.conversions(image, channels))
        is_dark = resize.is_deep(image) and _is_dark(resize.fitted(image, (64, 64), channels))
        return (*found, DARKNESS) if is_dark else found


def _is_dark(image: np.ndarray) -> bool:
    return bool(image.max() < DARK)


def fingerprint(root: Path, files: Sequence[Path]) -> str:
    """Return a digest of the names and sizes of the files.

    Pixels are not included: libraries differ by a grey level when decoding JPEG, and the machines
    of one study may have several versions.
    """
    listed = [f"{file.relative_to(root)} {file.stat().st_size}\n" for file in files]
    return hashlib.sha256(os.fsencode("".join(listed))).hexdigest()[:16]


def read(files: Sequence[Path], size: int, channels: int, workers: int) -> np.ndarray:
    """Return the images as uint8 [n, size, size, channels], scaled and center-cropped.

    ``channels`` 1 is grey, 3 is RGB. With ``workers`` 0, this process decodes alone.

    Raises:
        TunerError: A file, named in the message, cannot be read, or a worker died.
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
        # Not forked: the child of a process with a GPU context or threads may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(decode, files, chunksize=64)
    except BrokenProcessPool as error:
        raise TunerError(
            "a process that decodes images died",
            hint=f"it may have run out of memory: data.workers={workers // 2} needs "
            "less memory; data.workers=0 reports the image",
        ) from error


def _decoded(file: Path, size: int, channels: int) -> np.ndarray:
    with resize.opened(file) as image:
        return resize.fitted(image, (size, size), channels)
