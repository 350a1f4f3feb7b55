"""Images of one's own in a NumPy archive, with class labels or with numbers to be predicted."""

import dataclasses
import functools
import zipfile
from pathlib import Path

import numpy as np
import torch

from tuner.errors import TunerError
from tuner.train.augment import Augment
from tuner.train.data import Data, place, split
from tuner.train.files import Arrays


def npz(
    device: torch.device,
    *,
    root: str,
    name: str,
    validation: float,
    test: float,
    split_seed: int,
    limit: int | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """The arrays that ``np.savez(root/name, images=…, targets=…)`` wrote.

    ``images`` uint8 [n, H, W] or [n, H, W, C].  ``targets`` int [n], classes from 0 on, or float
    [n] or [n, k], for regression; give those about unit scale.  ``names`` [classes or k] may name
    the classes or the numbers.

    Raises: TunerError that names the file and what is wrong with it.
    """
    path = Path(root).expanduser() / name
    if not path.is_file():
        raise TunerError(f"{path}: there is no such file (hint: data.root=DIR data.name=FILE.npz)")
    arguments = (path, path.stat().st_mtime_ns, validation, test, split_seed, limit)
    return dataclasses.replace(_npz(device, *arguments), augment=augment, balanced=balanced)


@functools.lru_cache(maxsize=2)
def _npz(
    device: torch.device,
    path: Path,
    modified: int,
    validation: float,
    test: float,
    split_seed: int,
    limit: int | None,
) -> Data:
    arrays = read(path)
    pool, held_out = split(arrays.labels, test, split_seed, key="data.test")
    return place(arrays[pool], arrays[held_out], device, validation, split_seed, limit)


MOST_CLASSES = 100_000
"""A label beyond is a mistake, such as a -1 that was cast to an unsigned number."""


def read(path: Path) -> Arrays:
    """The content of an archive; labels int64 [n], or float32 [n, k].

    Raises: TunerError for what is no such archive.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, targets = archive["images"], archive["targets"]
            names = tuple(map(str, archive["names"])) if "names" in archive else ()
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error) or type(error).__name__
        raise TunerError(
            f"{path} cannot be read: {reason} (hint: np.savez(file, images=…, targets=…))"
        ) from error
    matching = targets.ndim > 0 and len(images) == len(targets)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size or not matching:
        raise TunerError(
            f"{path}: images {images.dtype}{list(images.shape)} and targets {list(targets.shape)}"
            " (hint: images uint8 [n, H, W] or [n, H, W, C], and as many targets)"
        )
    labels = _numbers(targets, path) if targets.dtype.kind == "f" else _labels(targets, path)
    size = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    names = names or tuple(map(str, range(size)))
    if len(names) < size or (labels.ndim == 2 and len(names) > size):
        raise TunerError(f"{path}: {len(names)} names for {size} classes or numbers")
    return Arrays(images if images.ndim == 4 else images[..., None], labels, names)


def _numbers(targets: np.ndarray, path: Path) -> np.ndarray:
    if targets.ndim > 2 or not np.isfinite(targets).all():
        raise TunerError(f"{path}: float targets must be finite and [n] or [n, k]")
    return targets.astype(np.float32).reshape(len(targets), -1)


def _labels(targets: np.ndarray, path: Path) -> np.ndarray:
    wrong = targets.dtype.kind not in "iu" or targets.ndim != 1
    if wrong or targets.min() < 0 or targets.max() >= MOST_CLASSES:
        raise TunerError(
            f"{path}: targets {targets.dtype}{list(targets.shape)}, largest {targets.max()} (hint:"
            " classes are integers from 0 on, [n]; numbers to be predicted are floats)"
        )
    return targets.astype(np.int64)
