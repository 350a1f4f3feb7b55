"""Labelled images that are kept on the device as uint8, split once for all trials of a study.

The split depends on ``data.split_seed``, never on a trial's own seed: trials are compared on the
same validation images. Loaded data stay on the device for later trials of the process that use the
same data.
"""

import dataclasses
import functools
import logging

import numpy as np
import torch
from torch import Tensor

import tuner.train.data.torchvision_files as torchvision_files
from tuner.config.bounds import Count, Part, Seed
from tuner.config.types import judged
from tuner.train.data.augment import Augment
from tuner.train.data.overview import Look, seen_by
from tuner.train.data.split import split
from tuner.train.data.tensors import Data, Split
from tuner.train.data.torchvision_files import Arrays, VisionSet
from tuner.train.device import hardware

logger = logging.getLogger("tuner")


DIGITS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)


def _look_at_digits(**_: object) -> Look:
    return Look((1, 8, 8), tuple("0123456789"), sum(DIGITS), DIGITS)


@seen_by(_look_at_digits)
@judged("data")
def digits(
    device: torch.device,
    *,
    validation: Part,
    test: Part,
    split_seed: Seed,
    limit: Count | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """scikit-learn's 1,797 digits of 8x8 grey pixels, which are part of its installation."""
    return dataclasses.replace(
        _digits(device, validation, test, split_seed, limit), augment=augment, balanced=balanced
    )


@seen_by(torchvision_files.look)
@judged("data")
def vision(
    device: torch.device,
    *,
    name: VisionSet,
    root: str,
    download: bool = False,
    validation: Part,
    split_seed: Seed,
    limit: Count | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """One of torchvision's data sets with its own test split, read from ``root``.

    With ``download``, missing files are downloaded into it.

    Raises:
        TunerError: The files can be neither found nor downloaded.
    """
    return dataclasses.replace(
        _vision(device, name, root, download, validation, split_seed, limit),
        augment=augment,
        balanced=balanced,
    )


# At most two data sets stay on the device; the least recently used one is removed.
@functools.lru_cache(maxsize=2)
def _digits(
    device: torch.device, validation: float, test: float, split_seed: int, limit: int | None
) -> Data:
    from sklearn.datasets import load_digits  # takes 0.9 s: imported only if used

    source = load_digits()
    images = (source.images * (255 / 16)).round().astype(np.uint8)[..., None]
    arrays = Arrays(images, source.target.astype(np.int64), tuple("0123456789"))
    pool, held_out = split(arrays.labels, test, split_seed, key="data.test")
    return place(arrays[pool], arrays[held_out], device, validation, split_seed, limit)


@functools.lru_cache(maxsize=2)
def _vision(
    device: torch.device,
    name: VisionSet,
    root: str,
    download: bool,
    validation: float,
    split_seed: int,
    limit: int | None,
) -> Data:
    pool, test = (
        torchvision_files.read(name, root, train=t, download=download) for t in (True, False)
    )
    return place(pool, test, device, validation, split_seed, limit)


def place(
    pool: Arrays,
    test: Arrays,
    device: torch.device,
    validation: float,
    split_seed: int,
    limit: int | None,
    fingerprint: str | None = None,
) -> Data:
    """Split images into training and validation, and move everything to the device.

    Images that would take more than half of the device's free memory stay in main memory and are
    streamed.

    Args:
        pool: Images for training and validation.
        test: Images that only ``tuner final`` scores.
        device: Device of the training.
        validation: Fraction of the pool that scores each epoch, between 0 and 1.
        split_seed: Seed of the split. Use the same for all trials, so that they are compared on the
            same images.
        limit: Number of images of the pool to use; None for all.
        fingerprint: Identifies the source; None for a digest of the arrays.

    Returns:
        The data, without augmentation; see ``Data``.

    Raises:
        ConfigError: The data cannot be split as requested, with every class in either part.

    Example:
        >>> images = np.zeros((8, 4, 4, 1), np.uint8)
        >>> some = Arrays(images, np.arange(8) % 2, ("cat", "dog"))
        >>> data = place(some, some, torch.device("cpu"), 0.25, split_seed=0, limit=None)
        >>> len(data.train), len(data.validation), data.in_shape
        (6, 2, (1, 4, 4))
    """
    known = fingerprint or f"{pool.fingerprint()} {test.fingerprint()}"
    if limit is not None and limit < len(pool.labels):
        _, kept = split(pool.labels, limit, split_seed, key="data.limit")
        pool = pool[kept]
    rest, held_out = split(pool.labels, validation, split_seed, key="data.validation")
    wanted, free = pool.images.nbytes + test.images.nbytes, hardware.free_bytes(device)
    streamed = wanted > free / 2
    if streamed:
        logger.info(
            "%.1f MB of images are more than half of the %.1f MB free on %s:"
            " streamed to it from main memory",
            wanted / 1e6, free / 1e6, device,
        )  # fmt: skip
    train = _split(pool[rest], device, streamed)
    mean, std = _moments(train.images)
    return Data(
        train=train,
        validation=_split(pool[held_out], device, streamed),
        test=_split(test, device, streamed),
        classes=pool.classes,
        mean=mean.to(device),
        std=std.clamp_min(1.0).to(device),  # a constant channel is divided by 1
        fingerprint=known,
    )


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel, float32 [C], from exact partial sums."""
    count = images.shape[:3].numel()
    total = torch.zeros(2, images.shape[3], dtype=torch.float64, device=images.device)
    for part in torch.split(images, 4096):
        pixels = part.flatten(0, 2).double()
        total += torch.stack([pixels.sum(0), pixels.square().sum(0)])
    mean, square = total / count
    return mean.float(), (square - mean.square()).clamp_min(0).sqrt().float()


def _split(arrays: Arrays, device: torch.device, streamed: bool) -> Split:
    images = torch.from_numpy(np.ascontiguousarray(arrays.images))
    labels = torch.from_numpy(arrays.labels).to(device)
    return Split(images if streamed else images.to(device), labels, streamed)
