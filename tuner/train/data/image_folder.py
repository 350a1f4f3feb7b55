"""A data set of a user's own image files."""

import logging
import math
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np

from tuner.config.bounds import Count, Whole
from tuner.train.data import image_files, image_listing
from tuner.train.data.dataset import Loaded, source
from tuner.train.data.overview import Overview
from tuner.train.data.tensors import Arrays

logger = logging.getLogger("tuner")

EACH, ALL = 16, 1024
"""Numbers of files per class, and in total, that ``overview`` opens."""


def overview(*, root: str, size: int, channels: int, **_: object) -> Overview:
    """Return what ``folder`` would find; open only some files of each class, evenly spread.

    Raises:
        TunerError: A class has no images, or an opened file is not an image.
    """
    found = image_listing.find(Path(root).expanduser())
    most = max(1, min(EACH, ALL // len(found.classes)))
    sample = [
        file for files in found.classes.values() for file in files[:: math.ceil(len(files) / most)]
    ]
    done = Counter(word for file in sample for word in image_files.examine(file, channels))
    dark = done.pop(image_files.DARKNESS, 0)
    counts = tuple(map(len, found.classes.values()))
    told = {
        "opened": f"{len(sample):,} of {sum(counts):,} files, up to {most} a class",
        "converted": ", ".join(f"{word}: {count:,}" for word, count in sorted(done.items())),
        "skipped": found.left_out(),
        "dark": f"warning: {dark:,} of them have {image_files.DARKNESS}" if dark else "",
    }
    return Overview((channels, size, size), tuple(found.classes), sum(counts), counts, told=told)


@source(overview)
def folder(*, root: str, size: Count, channels: Literal[1, 3], workers: Whole) -> Loaded:
    """Return the images below ``root``, one directory per class, decoded once per process.

    Raises:
        TunerError: A class has no images, a file is not an image, or a worker died.
    """
    found = image_listing.find(Path(root).expanduser())
    if left := found.left_out():
        logger.info("%s: %d images; skipped: %s", root, len(found.files), left)
    counts = [len(files) for files in found.classes.values()]
    labels = np.repeat(np.arange(len(counts)), counts)
    images = image_files.read(found.files, size, channels, workers)
    arrays = Arrays(images, labels.astype(np.int64), tuple(found.classes))
    return Loaded(arrays, fingerprint=image_files.fingerprint(found.root, found.files))
