"""The files of image data sets: found where they lie, or fetched by torchvision."""

import fcntl
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tuner.errors import TunerError

VisionSet = Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]


@dataclass(frozen=True)
class Arrays:
    """``images`` uint8 [n, H, W, C] and ``labels`` int64 [n] in main memory."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __getitem__(self, rows: np.ndarray) -> "Arrays":
        return Arrays(self.images[rows], self.labels[rows], self.classes)


def read(name: VisionSet, root: str, *, train: bool) -> Arrays:
    """One part of a data set.

    ``root`` is either torchvision's root (files that are not there are fetched into it), or, for
    the two MNISTs, a flat directory of ``train-images-idx3-ubyte`` and the like, gzipped or not,
    as Debian's dataset-fashion-mnist has it.

    Raises: TunerError when the files can be neither found nor fetched, or are damaged.
    """
    # torchvision takes two seconds to import, which digits need not pay.
    from torchvision import datasets

    kind = getattr(datasets, name)
    directory = _where(name, Path(root).expanduser())
    part = "train" if train else "t10k"
    if name in ("MNIST", "FashionMNIST") and _find(directory, f"{part}-images-idx3-ubyte"):
        images = read_idx(directory, f"{part}-images-idx3-ubyte")[..., None]
        labels = read_idx(directory, f"{part}-labels-idx1-ubyte")
        classes = tuple(kind.classes)
    else:
        found = _fetch(kind, directory, train)
        images, classes = np.asarray(found.data), tuple(found.classes)
        images = images[..., None] if images.ndim == 3 else images
        labels = np.asarray(found.targets)
    return _checked(Arrays(images, labels.astype(np.int64), classes), directory)


def _where(name: VisionSet, root: Path) -> Path:
    """``root``, or the one directory in it that holds the MNIST files flat."""
    if name not in ("MNIST", "FashionMNIST") or _find(root, "train-images-idx3-ubyte"):
        return root
    below = [p.parent for p in sorted(root.glob("*/train-images-idx3-ubyte*"))]
    return below[0] if len(set(below)) == 1 else root


def read_idx(directory: Path, name: str) -> np.ndarray:
    """An array of bytes in LeCun's idx format: 0, 0, 8 (bytes), rank, the sizes, the values.

    Raises: TunerError for a file that is missing or not such an array.
    """
    path = _find(directory, name)
    if path is None:
        raise TunerError(f"{directory / name}[.gz] is missing beside its images (hint: data.root)")
    try:
        packed = path.read_bytes()
        # A bytearray, for the array over it to be writable, as torch wants it.
        content = bytearray(gzip.decompress(packed) if path.suffix == ".gz" else packed)
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin with 0, 0, 8")
        header = 4 + 4 * content[3]
        sizes = np.frombuffer(content[4:header], dtype=">u4")
        return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise TunerError(
            f"{path} is no idx file of bytes: {error} (hint: fetch it again)"
        ) from error


def _find(directory: Path, name: str) -> Path | None:
    candidates = (directory / name, directory / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _fetch(kind: Any, directory: Path, train: bool) -> Any:
    """torchvision's data set, downloaded by one process at a time if it is not there."""
    try:
        return kind(directory, train=train, download=False)
    except RuntimeError:  # "Dataset not found"
        pass
    try:
        with _alone(directory):
            return kind(directory, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise TunerError(
            f"{kind.__name__} is not in data.root={directory} and could not be fetched:"
            f" {str(error).strip()}"
            " (hint: data.root=DIR where its files lie, or a machine that reaches the internet)"
        ) from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Holds other processes back: workers that start together would download over each other."""
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".lock"
    try:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except BaseException:
        _tidy(directory, path, made=made)
        raise


def _tidy(directory: Path, lock: Path, *, made: bool) -> None:
    """Take away the empty directories that a download in vain has made."""
    lock.unlink(missing_ok=True)
    below = sorted(directory.rglob("*"), reverse=True)
    for path in [*below, *([directory] if made else [])]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _checked(arrays: Arrays, directory: Path) -> Arrays:
    """Raises: TunerError where images and labels do not belong together."""
    if len(arrays.images) != len(arrays.labels):
        raise TunerError(
            f"{directory}: {len(arrays.images)} images but {len(arrays.labels)} labels"
            " (hint: the files are of different sets; fetch them again)"
        )
    if arrays.labels.min() < 0 or arrays.labels.max() >= len(arrays.classes):
        raise TunerError(
            f"{directory}: labels {arrays.labels.min()} to {arrays.labels.max()} for"
            f" {len(arrays.classes)} classes (hint: is data=… the set that lies there?)"
        )
    return arrays
