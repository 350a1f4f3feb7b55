"""Labelled images that are kept on the device as uint8, with one split for all trials of a study.

The split depends on ``data.split_seed``, never on a trial's own seed, so that trials are compared
on the same validation images. Loaded data stay on the device for later trials of the process that
use the same data.
"""

import dataclasses
import functools
import importlib.util
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import tuner.train.data.torchvision_files as torchvision_files
from tuner.config.bounds import Count, Part, Seed
from tuner.config.types import validate_arguments
from tuner.train.data.augment import Augment
from tuner.train.data.overview import Overview
from tuner.train.data.splitting import split
from tuner.train.data.tensors import Arrays, Data, Split
from tuner.train.data.torchvision_files import VisionSet
from tuner.train.device import hardware

logger = logging.getLogger("tuner")


DIGITS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)


class Loaded(NamedTuple):
    """The images that a data source has read."""

    pool: Arrays
    test: Arrays | None = None
    """The test split, if the data set has one; else a fraction of the pool is split off."""
    fingerprint: str | None = None
    """Identifies the images; None for a digest of the arrays."""


Reader = Callable[..., Loaded]


def source(
    overview: Callable[..., Overview],
    *,
    has_test: bool = False,
    version: Callable[..., object] = lambda **_: None,
) -> Callable[[Reader], Callable[..., Data]]:
    """Return a decorator that turns a function that reads images into a data source.

    The source takes the device, the function's own keywords, and those of ``build`` below; all of
    them are checked against their bounds. The two most recently used data sets stay on the device.

    Args:
        overview: Returns the overview of a data set, given the keywords of the source.
        has_test: Whether the data have a test split, so that there is no keyword ``test``.
        version: Called with the function's keywords; if its result has changed, the images are read
            again.
    """

    def made(read: Reader) -> Callable[..., Data]:
        @functools.lru_cache(maxsize=2)
        def load(
            device: torch.device, own: frozenset[tuple[str, Any]], _version: object, test: float,
            validation: float, split_seed: int, limit: int | None,
        ) -> Data:  # fmt: skip
            pool, held_out, fingerprint = read(**dict(own))
            if held_out is None:
                rest, rows = split(pool.labels, test, split_seed, key="data.test")
                pool, held_out = pool[rest], pool[rows]
            return place(pool, held_out, device, validation, split_seed, limit, fingerprint)

        def build(
            device: torch.device,
            *,
            validation: Part,
            test: Part = 0.0,
            split_seed: Seed,
            limit: Count | None,
            augment: Augment,
            balanced: bool = False,
            **own: Any,
        ) -> Data:
            key = (frozenset(own.items()), version(**own), test, validation, split_seed, limit)
            return dataclasses.replace(load(device, *key), augment=augment, balanced=balanced)

        described: Callable[..., Data] = validate_arguments("data")(
            _with_keywords_of(read, build, has_test)
        )
        described.__dict__.update(overview=overview, cache_clear=load.cache_clear)
        return described

    return made


def _with_keywords_of(read: Reader, build: Callable[..., Data], has_test: bool) -> Any:
    """Give ``build`` the name of ``read``, and the keywords of both."""
    first, *common, _own = inspect.signature(build).parameters.values()
    kept = [p.replace(default=p.empty if p.name == "test" else p.default) for p in common]
    kept = [p for p in kept if not (has_test and p.name == "test")]
    parameters = [first, *inspect.signature(read).parameters.values(), *kept]
    functools.update_wrapper(build, read)
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    build.__annotations__ = {p.name: p.annotation for p in parameters}
    return build


@source(lambda **_: Overview((1, 8, 8), tuple("0123456789"), sum(DIGITS), DIGITS))
def digits() -> Loaded:
    """scikit-learn's 1,797 digits of 8x8 grey pixels, which are part of its installation."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    file = Path(str(package.origin)).parent / "datasets/data/digits.csv.gz"
    if file.exists():  # read as load_digits does: importing scikit-learn takes 0.9 s
        table = np.loadtxt(file, np.int64, delimiter=",")
    else:
        from sklearn.datasets import load_digits

        table = np.column_stack(load_digits(return_X_y=True)).astype(np.int64)
    images = (table[:, :-1] * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8, 1)
    return Loaded(Arrays(images, table[:, -1], tuple("0123456789")))


@source(torchvision_files.overview, has_test=True)
def vision(*, name: VisionSet, root: str, download: bool = False) -> Loaded:
    """Read one of torchvision's data sets, which has its own test split, from ``root``.

    With ``download``, missing files are downloaded into it.

    Raises:
        TunerError: The files can be neither found nor downloaded.
    """
    read = functools.partial(torchvision_files.read, name, root, download=download)
    return Loaded(read(train=True), read(train=False))


def place(
    pool: Arrays,
    test: Arrays,
    device: torch.device,
    validation: float,
    split_seed: int,
    limit: int | None,
    fingerprint: str | None = None,
) -> Data:
    """Split images into training and validation; return all on the device, without augmentation.

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
