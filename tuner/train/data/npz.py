"""A user's images in a NumPy archive, with class labels or with numbers to predict."""

import dataclasses
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tuner.errors import Mistake, TunerError
from tuner.log import printable
from tuner.train.data.dataset import Loaded, source
from tuner.train.data.labels import Labels, understood
from tuner.train.data.overview import Overview
from tuner.train.data.tensors import Arrays


def overview(*, root: str, name: str, **_: object) -> Overview:
    """Return what ``read`` would find, reading the targets but only the header of the images.

    Raises:
        TunerError: As in ``read``.
    """
    with _opened(_file(root, name)) as archive:
        labels, shape, is_first = _described(archive)
    height, width, *channels = (*shape[2:], shape[1]) if is_first else shape[1:]
    counts: list[int] = []
    if labels.values.ndim == 1:
        counts = np.bincount(labels.values, minlength=len(labels.names)).tolist()
    told = {"targets": labels.told, "converted": "channels first to last" if is_first else ""}
    in_shape = (channels[0] if channels else 1, height, width)
    return Overview(in_shape, labels.names, shape[0], tuple(counts), told=told)


@source(overview, version=lambda root, name: _file(root, name).stat().st_mtime_ns)
def npz(*, root: str, name: str) -> Loaded:
    """Load the arrays that ``np.savez(root/name, images=…, targets=…)`` wrote.

    ``images``: uint8 [n, H, W], [n, H, W, C] or, with 1 to 4 channels, [n, C, H, W]. ``targets``:
    classes as integers or strings [n], or rows [n, k] with a single 1; floats [n] or [n, k] for
    regression, which should be scaled to about 1. ``names`` [classes or k] may name the classes or
    the numbers.

    Raises:
        TunerError: The file is invalid; the message names it and the error.
    """
    return Loaded(read(_file(root, name)))


def read(path: Path) -> Arrays:
    """Return an archive's images uint8 [n, H, W, C] and labels int64 [n] or float32 [n, k].

    Raises:
        TunerError: It is not such an archive.
    """
    with _opened(path) as archive:
        labels, shape, is_first = _described(archive)
        images = _array(archive, "images")
    if len(shape) == 3:
        images = images[..., None]
    if is_first:
        images = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    return Arrays(images, labels.values, labels.names)


def _file(root: str, name: str) -> Path:
    path = Path(root).expanduser() / name
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "file not found"
        raise TunerError(f"{printable(str(path))}: {what}", hint="data.root=DIR data.name=FILE.npz")
    return path


def _printable(mistake: Mistake) -> Mistake:
    """Return a mistake with escaped text: names in the archive may contain control characters."""
    problem, hint = (printable(text, kept="") for text in (mistake.problem, mistake.hint))
    return dataclasses.replace(mistake, problem=problem, hint=hint)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; turn all of its errors into a TunerError that names the file.

    A damaged archive may raise anything from zipfile, zlib, NumPy or Python's own parser.
    """
    name = printable(str(path), kept="")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except TunerError as error:
        raise TunerError([_printable(m.within(path)) for m in error.mistakes]) from error
    except MemoryError as error:
        raise TunerError(
            f"{name} does not fit into memory", hint="fewer or smaller images, or data=image_folder"
        ) from error
    except Exception as error:
        system = isinstance(error, OSError) and error.strerror
        reason = system or "it is damaged, or not a NumPy archive"
        raise TunerError(
            f"{name} cannot be read: {reason}", hint="np.savez(file, images=…, targets=…)"
        ) from error


HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # but for the names of fields, which none has
}


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array, after checking its length against them."""
    members = archive.namelist()
    if f"{name}.npy" not in members:
        known = [member.removesuffix(".npy") for member in members if member.endswith(".npy")]
        raise TunerError(
            f"it contains {', '.join(known[:9]) or 'nothing'}, but no array {name}",
            hint="np.savez(file, images=…, targets=…)",
        )
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        if dtype.hasobject:
            cure = "np.stack(images)" if name == "images" else f"np.array({name}.tolist())"
            raise TunerError(
                f"{name} contain Python objects, which tuner does not unpickle",
                hint=f"save {cure}, one array of plain values",
            )
        if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise TunerError(f"the length of {name} contradicts its header", hint="save it again")
    return shape, dtype


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    _header(archive, name)
    with archive.open(f"{name}.npy") as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _described(archive: zipfile.ZipFile) -> tuple[Labels, tuple[int, ...], bool]:
    """Return the labels, the shape of the images, and whether their channels come first."""
    shape, dtype = _header(archive, "images")
    targets = _array(archive, "targets")
    if dtype != np.uint8 or len(shape) not in (3, 4) or 0 in shape:
        raise TunerError(f"images {dtype}{list(shape)}", hint=_cure(dtype, shape))
    if targets.shape[:1] != shape[:1]:
        is_last = targets.shape[:1] == shape[-1:]
        cure = "np.moveaxis(images, -1, 0)" if is_last else "save one target per image"
        raise TunerError(
            f"images {dtype}{list(shape)} and targets {list(targets.shape)}", hint=cure
        )
    is_first = len(shape) == 4 and shape[1] <= 4 < shape[3]
    has_names = "names.npy" in archive.namelist()
    labels = understood(targets, _array(archive, "names") if has_names else None)
    return labels, shape, is_first


def _cure(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    if dtype == np.uint8:
        return "images uint8 [n, H, W], [n, H, W, C] or [n, C, H, W]"
    if dtype.kind == "f":
        return "images are uint8: if they go from 0 to 1, (images * 255).round().astype(np.uint8)"
    if dtype.kind == "b":
        return "images are uint8: images.astype(np.uint8) * 255"
    return "images are uint8: images.astype(np.uint8), scaled to 0 … 255 first"
