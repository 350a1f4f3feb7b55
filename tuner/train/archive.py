"""Images of one's own in a NumPy archive, with class labels or with numbers to be predicted."""

import dataclasses
import functools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.bounds import Count, Part, Seed
from tuner.errors import TunerError
from tuner.schema import judged
from tuner.train.augment import Augment
from tuner.train.data import Data, place
from tuner.train.files import Arrays
from tuner.train.look import Look, seen_by
from tuner.train.stratified import split


def look(*, root: str, name: str, **_: object) -> Look:
    """What ``read`` would find: the targets are read, of the images the header alone.

    Raises: as ``read`` does.
    """
    path = _file(root, name)
    with _explained(path):
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as file:
            version = np.lib.format.read_magic(file)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, _, dtype = header(file)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            targets, names = arrays["targets"], _names(arrays)
    labels, names = _checked(path, shape, dtype, targets, names)
    counts = () if labels.ndim == 2 else tuple(np.bincount(labels, minlength=len(names)).tolist())
    height, width, *channels = shape[1:]
    return Look((*(channels or [1]), height, width), names, len(labels), counts)


@seen_by(look)
@judged("data")
def npz(
    device: torch.device,
    *,
    root: str,
    name: str,
    validation: Part,
    test: Part,
    split_seed: Seed,
    limit: Count | None,
    augment: Augment,
    balanced: bool = False,
) -> Data:
    """The arrays that ``np.savez(root/name, images=…, targets=…)`` wrote.

    ``images`` uint8 [n, H, W] or [n, H, W, C].  ``targets`` int [n], classes from 0 on, or float
    [n] or [n, k], for regression; give those about unit scale.  ``names`` [classes or k] may name
    the classes or the numbers.

    Raises: TunerError that names the file and what is wrong with it.
    """
    path = _file(root, name)
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
    with (
        _explained(path),
        path.open("rb") as file,  # NumPy would leave a damaged one open
        np.load(file, allow_pickle=False) as archive,
    ):
        images, targets, names = archive["images"], archive["targets"], _names(archive)
    labels, names = _checked(path, images.shape, images.dtype, targets, names)
    return Arrays(images if images.ndim == 4 else images[..., None], labels, names)


def _file(root: str, name: str) -> Path:
    path = Path(root).expanduser() / name
    if not path.is_file():
        raise TunerError(f"{path}: there is no such file (hint: data.root=DIR data.name=FILE.npz)")
    return path


def _names(archive: Any) -> tuple[str, ...]:
    return tuple(map(str, archive["names"])) if "names" in archive else ()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """TunerError for what NumPy and zipfile say of a file that is no such archive."""
    try:
        yield
    except (
        OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise TunerError(
            f"{path} cannot be read: {reason} (hint: np.savez(file, images=…, targets=…))"
        ) from error


def _checked(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    targets: np.ndarray,
    names: tuple[str, ...],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The targets as ``read`` gives them, and a name for each class or number.

    Raises: TunerError for images (of which shape and type say all) or targets of another kind.
    """
    matching = targets.ndim > 0 and shape[:1] == targets.shape[:1]
    if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape or not matching:
        raise TunerError(
            f"{path}: images {dtype}{list(shape)} and targets {list(targets.shape)}"
            " (hint: images uint8 [n, H, W] or [n, H, W, C], and as many targets)"
        )
    labels = _numbers(targets, path) if targets.dtype.kind == "f" else _labels(targets, path)
    size = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    names = names or tuple(map(str, range(size)))
    if len(names) < size or (labels.ndim == 2 and len(names) > size):
        raise TunerError(f"{path}: {len(names)} names for {size} classes or numbers")
    return labels, names


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
