"""The files of image data sets: found locally, or downloaded by torchvision."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tuner.errors import TunerError
from tuner.files import locked
from tuner.train.data.overview import Overview
from tuner.train.data.tensors import Arrays

VisionSet = Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]
MNISTS = ("MNIST", "FashionMNIST")
SIZES = {"MNIST": 12, "FashionMNIST": 31, "CIFAR10": 170, "CIFAR100": 169}
"""Size of the download in megabytes."""
CIFARS = {
    "CIFAR10": (10, ["cifar-10-batches-py/" + name for name in (
        *(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta",
    )]),
    "CIFAR100": (100, [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]),
}  # fmt: skip
"""Number of classes, and the files that torchvision unpacks."""


def read(name: VisionSet, root: str, *, train: bool, download: bool = False) -> Arrays:
    """Read one part of a data set.

    ``root`` is either torchvision's root (with ``download``, missing files are downloaded into it),
    or, for the two MNISTs, a flat directory of ``train-images-idx3-ubyte`` and so on, gzipped or
    not, as in Debian's dataset-fashion-mnist.

    Raises:
        TunerError: The files can be neither found nor downloaded, or are damaged.
    """
    # Importing torchvision takes two seconds, which data=digits does not need to spend.
    from torchvision import datasets

    kind = getattr(datasets, name)
    directory = _where(name, Path(root).expanduser())
    part = "train" if train else "t10k"
    if name in MNISTS and _find(directory, f"{part}-images-idx3-ubyte"):
        images = read_idx(directory, f"{part}-images-idx3-ubyte")[..., None]
        labels = read_idx(directory, f"{part}-labels-idx1-ubyte")
        classes = tuple(kind.classes)
    else:
        found = _fetch(kind, directory, train, download)
        images, classes = np.asarray(found.data), tuple(found.classes)
        images = images[..., None] if images.ndim == 3 else images
        labels = np.asarray(found.targets)
    _check(len(images), labels, len(classes), directory)
    return Arrays(images, labels.astype(np.int64), classes)


def overview(*, name: VisionSet, root: str, download: bool = False, **_: object) -> Overview:
    """Return what ``read`` would find; images are counted by their headers, labels are read.

    With ``download``, missing files are downloaded.

    Raises:
        TunerError: The files can be neither found nor downloaded, or are damaged.
    """
    directory = _where(name, Path(root).expanduser())
    if name in MNISTS and not _find(directory, "train-images-idx3-ubyte"):
        directory = directory / name / "raw"  # torchvision's place
    if download and not _complete(name, directory):
        for train in (True, False):
            read(name, root, train=train, download=True)
    if not _complete(name, directory):
        raise _missing(name, Path(root).expanduser())
    if name in CIFARS:  # torchvision checks their contents as it reads them
        each = 50_000 // CIFARS[name][0]
        names = tuple(map(str, range(CIFARS[name][0])))
        return Overview((3, 32, 32), names, 50_000, (each,) * len(names), test=10_000)
    labels, size = _headed(directory, "train")
    held_out = _headed(directory, "t10k")[0]
    counts = tuple(np.bincount(labels, minlength=10).tolist())
    return Overview((1, *size), tuple("0123456789"), len(labels), counts, test=len(held_out))


def _complete(name: VisionSet, directory: Path) -> bool:
    if name in CIFARS:
        return all((directory / file).is_file() for file in CIFARS[name][1])
    return all(_find(directory, f"{part}-images-idx3-ubyte") for part in ("train", "t10k"))


def _headed(directory: Path, part: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the labels of a part of MNIST, and height and width of its images."""
    path = _find(directory, f"{part}-images-idx3-ubyte")
    assert path is not None
    labels = read_idx(directory, f"{part}-labels-idx1-ubyte")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(16)
        if header[:4] != b"\0\0\x08\x03" or len(header) < 16:
            raise ValueError("it does not begin with 0, 0, 8, 3")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _no_idx(path, error) from error
    count, height, width = np.frombuffer(header[4:], dtype=">u4").tolist()
    if _length(path) != 16 + count * height * width:
        raise _no_idx(path, ValueError(f"it does not contain {count} images of {height}x{width}"))
    _check(count, labels, 10, directory)
    return labels, (height, width)


def _length(path: Path) -> int:
    """Return a file's size in bytes; for a gzipped one that of its content, modulo 2^32."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")


def _where(name: VisionSet, root: Path) -> Path:
    """Return ``root``, or the only directory in it that contains the MNIST files."""
    if name not in MNISTS or _find(root, "train-images-idx3-ubyte"):
        return root
    below = [p.parent for p in sorted(root.glob("*/train-images-idx3-ubyte*"))]
    return below[0] if len(set(below)) == 1 else root


def read_idx(directory: Path, name: str) -> np.ndarray:
    """Read an array of bytes in LeCun's idx format: 0, 0, 8 (bytes), rank, the sizes, the values.

    Raises:
        TunerError: The file is missing or is not such an array.
    """
    path = _find(directory, name)
    if path is None:
        raise TunerError(
            f"{directory / name}[.gz] is missing", hint="set data.root, or download it"
        )
    try:
        packed = path.read_bytes()
        # A bytearray, so that the array is writable, as torch requires.
        content = bytearray(gzip.decompress(packed) if path.suffix == ".gz" else packed)
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin with 0, 0, 8")
        header = 4 + 4 * content[3]
        sizes = np.frombuffer(content[4:header], dtype=">u4")
        return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise _no_idx(path, error) from error


def _no_idx(path: Path, error: Exception) -> TunerError:
    return TunerError(f"{path} is not an idx file of bytes: {error}", hint="download it again")


def _find(directory: Path, name: str) -> Path | None:
    candidates = (directory / name, directory / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _fetch(kind: Any, directory: Path, train: bool, download: bool) -> Any:
    """Return torchvision's data set, downloaded by one process at a time if it is missing."""
    try:
        return kind(directory, train=train, download=False)
    except RuntimeError as error:  # "Dataset not found"
        if not download:
            raise _missing(kind.__name__, directory) from error
    try:
        with _alone(directory):
            return kind(directory, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise TunerError(
            f"{kind.__name__} is not in data.root={directory} and could not "
            f"be downloaded: {' '.join(str(error).split())}",
            hint="set data.root to its directory, or use a machine with internet access",
        ) from error


def _missing(name: str, directory: Path) -> TunerError:
    return TunerError(
        f"{name} is not in data.root={directory}",
        hint="data.root=DIR, the directory of its files, or data.download=true to download "
        f"{SIZES[name]} MB into it",
    )


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Exclude other processes: workers that start together would all download the files."""
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".lock"
    try:
        with locked(path):
            yield
    except BaseException:
        _tidy(directory, path, made=made)
        raise


def _tidy(directory: Path, lock: Path, *, made: bool) -> None:
    """Remove the empty directories of a failed download."""
    lock.unlink(missing_ok=True)
    below = sorted(directory.rglob("*"), reverse=True)
    for path in [*below, *([directory] if made else [])]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _check(images: int, labels: np.ndarray, classes: int, directory: Path) -> None:
    """Raise ``TunerError`` if images and labels do not belong together."""
    if images != len(labels):
        raise TunerError(
            f"{directory}: {images} images but {len(labels)} labels",
            hint="the files belong to different data sets; download them again",
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise TunerError(
            f"{directory}: labels {labels.min()} to {labels.max()} for {classes} classes",
            hint="check that data=… is the data set in this directory",
        )
