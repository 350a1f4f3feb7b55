"""A data set of a user's own image files."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from tuner.bounds import Count, Part, Seed, Whole
from tuner.schema import judged
from tuner.train import pictures
from tuner.train.augment import Augment
from tuner.train.data import Data, place
from tuner.train.files import Arrays
from tuner.train.look import Look, seen_by
from tuner.train.stratified import split


def look(*, root: str, size: int, channels: int, **_: object) -> Look:
    """What ``folder`` would find; of each class the first file's header is read.

    Raises: TunerError for a class without images, or such a file that is none.
    """
    classes = pictures.find(Path(root).expanduser())
    for files in classes.values():
        pictures.check(files[0])
    counts = tuple(map(len, classes.values()))
    return Look((channels, size, size), tuple(classes), sum(counts), counts)


@seen_by(look)
@judged("data")
def folder(
    device: torch.device,
    *,
    root: str,
    size: Count,
    channels: Literal[1, 3],
    workers: Whole,
    validation: Part,
    test: Part,
    split_seed: Seed,
    limit: Count | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """The images below ``root``, a directory for each class, decoded once a process.

    Raises: TunerError for a class without images, a file that is none, or a worker that died.
    """
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
    known = pictures.fingerprint(Path(root).expanduser(), files)
    return place(arrays[pool], arrays[held_out], device, validation, split_seed, limit, known)
