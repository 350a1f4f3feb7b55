"""A data set of a user's own image files."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from tuner.errors import ConfigError
from tuner.train import pictures
from tuner.train.augment import Augment
from tuner.train.data import Data, place, split
from tuner.train.files import Arrays


def folder(
    device: torch.device,
    *,
    root: str,
    size: int,
    channels: Literal[1, 3],
    workers: int,
    validation: float,
    test: float,
    split_seed: int,
    limit: int | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """The images below ``root``, a directory for each class, decoded once a process.

    Raises: TunerError for a class without images, a file that is none, or a worker that died.
    """
    if size < 1 or workers < 0:
        raise ConfigError(f"data.size={size}, data.workers={workers}: at least 1, and 0")
    found = _folder(device, root, size, channels, workers, validation, test, split_seed, limit)
    return dataclasses.replace(found, augment=augment, balanced=balanced)


@functools.lru_cache(maxsize=2)
def _folder(
    device: torch.device,
    root: str,
    size: int,
    channels: int,
    workers: int,
    validation: float,
    test: float,
    split_seed: int,
    limit: int | None,
) -> Data:
    classes = pictures.find(Path(root).expanduser())
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    files = [file for of_class in classes.values() for file in of_class]
    images = pictures.read(files, size, channels, workers)
    arrays = Arrays(images, labels.astype(np.int64), tuple(classes))
    pool, held_out = split(arrays.labels, test, split_seed, key="data.test")
    return place(arrays[pool], arrays[held_out], device, validation, split_seed, limit)
