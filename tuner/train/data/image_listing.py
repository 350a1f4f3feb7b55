"""List the image files below a directory by class, and count the entries that are skipped.

This module does not import torch, so that a decoding process starts at once.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TunerError
from tuner.log import printable
from tuner.train.data import resize

SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
SYSTEMS = {"__MACOSX", "@eaDir", "lost+found"}
"""Directories that macOS, Synology's thumbnails and file systems create."""


@dataclass(frozen=True)
class Listing:
    """The listed files.

    ``classes`` has the sorted files of each class, ``skipped`` the number of skipped entries by
    reason.
    """

    root: Path
    classes: Mapping[str, Sequence[Path]]
    skipped: Mapping[str, int]
    times: Mapping[str, int]
    """Time of the last change of each directory, in nanoseconds since 1970."""

    @property
    def files(self) -> list[Path]:
        """Return all files, class after class."""
        return [file for files in self.classes.values() for file in files]

    def left_out(self) -> str:
        """Describe what was skipped; empty if nothing was."""
        return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(self.skipped.items()))


def find(root: Path) -> Listing:
    """List the images of each class, which is a directory below ``root``, including subdirectories.

    Linked directories are followed, each real one once.

    Raises:
        TunerError: There are no classes, or one without an image; or a directory is a split, cannot
            be listed, or has a name that is not UTF-8.
    """
    known = _LAST.get(root)
    if known and all(_changed(path) == at for path, at in known.times.items()):
        return known
    if not root.is_dir():
        raise TunerError(f"{_named(root)}: there is no such directory", hint="data.root=DIR")
    start, walk = time.time_ns(), _Walk(root)
    walk.all()
    classes = {
        name: [Path(path) for path in sorted(paths, key=lambda path: path.split(os.sep))]
        for name, paths in sorted(walk.classes.items())
    }
    found = Listing(root, classes, walk.skipped, walk.times)
    _check(found)
    _LAST.clear()
    if max(found.times.values()) < start - SETTLED:
        _LAST[root] = found
    return found


SETTLED = 2_000_000_000
"""Nanoseconds after which another change of a directory is certain to have another time."""
_LAST: dict[Path, Listing] = {}
"""The last listing, valid until a directory changes. The corners of a space are checked before a
search begins, and listing a million files takes ten seconds.
"""


def _changed(directory: str) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return -1


class _Walk:
    """Visits real directories before linked ones, so that files belong to their real location."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.classes: dict[str, list[str]] = {}
        self.skipped: Counter[str] = Counter()
        self.real: deque[tuple[str, str]] = deque()
        self.linked: deque[tuple[str, str]] = deque()
        self.seen = {os.path.realpath(root)}
        self.times = dict[str, int]()

    def all(self) -> None:
        for entry in self._entries(str(self.root)):
            if _is_hidden(entry.name):
                self.skipped["hidden"] += 1
            elif _is(entry.is_dir):
                self.classes[entry.name] = []
                self._later(entry.name, entry)
            else:
                self.skipped["outside of the class directories"] += 1
        while self.real or self.linked:
            name, path = (self.real or self.linked).popleft()
            self._directory(name, path)

    def _later(self, name: str, entry: "os.DirEntry[str]") -> None:
        (self.linked if entry.is_symlink() else self.real).append((name, entry.path))

    def _directory(self, name: str, path: str) -> None:
        real = os.path.realpath(path)
        if real in self.seen:
            self.skipped["links to directories that are read already"] += 1
            return
        self.seen.add(real)
        for entry in self._entries(path):
            if not _is_hidden(entry.name) and _is(entry.is_dir):
                self._later(name, entry)
            elif reason := _reason(entry):
                self.skipped[reason] += 1
            else:
                self.classes[name].append(entry.path)

    def _entries(self, directory: str) -> list["os.DirEntry[str]"]:
        self.times[directory] = _changed(directory)
        try:
            with os.scandir(directory) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise TunerError(
                f"{_named(directory)} cannot be listed: {error.strerror}",
                hint="grant read and execute permission, or move it elsewhere",
            ) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEMS


def _is(kind: Callable[[], bool]) -> bool:
    """Return whether an entry, or the target of a link, is of a kind; false if it is unknown."""
    try:
        return kind()
    except OSError:  # such as a link to itself
        return False


def _reason(entry: "os.DirEntry[str]") -> str:
    """Return why an entry is not an image to read; empty for an image."""
    if _is_hidden(entry.name):
        return "hidden"
    if not _is(entry.is_file):  # opening a FIFO would block
        is_broken = entry.is_symlink() and not os.path.exists(entry.path)
        return "broken links" if is_broken else "not regular files"
    suffix = os.path.splitext(entry.name)[1].lower()
    if not suffix:
        return "" if resize.is_image(entry.path) else "no suffix, and not an image"
    return "" if suffix in resize.suffixes() else f"*{printable(suffix, kept='')}"


def _check(found: Listing) -> None:
    for name in found.classes:
        _check_name(found.root, name)
    _check_splits(found)
    _check_depth(found)
    names = list(found.classes)
    empty = [printable(name, kept="") for name, files in found.classes.items() if not files]
    if len(names) < 2 or empty:
        what = f"no image in {', '.join(empty[:5])}" if empty else f"{len(names)} classes"
        left = f" (skipped: {text})" if (text := found.left_out()) else ""
        raise TunerError(
            f"{_named(found.root)}: {what}{left}",
            hint="create one directory of images per class, at least two; formats: "
            f"{', '.join(resize.formats())}",
        )


def _check_name(root: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise TunerError(
            f"{_named(root)}: the name of the class {os.fsencode(name)!r} is not UTF-8",
            hint="rename it",
        ) from error


def _check_splits(found: Listing) -> None:
    """Raise ``TunerError`` for the names of splits; ``train`` alone may be a class."""
    splits = [name for name in found.classes if name.lower() in SPLITS]
    if len(splits) > 1 or (splits and len(found.classes) == 1):
        first = next((name for name in splits if name.lower().startswith("train")), splits[0])
        raise TunerError(
            f"{_named(found.root)} contains {' and '.join(splits)}, which are splits, not classes",
            hint=f"{_named(found.root / first)}, whose directories are the "
            "classes (tuner makes the validation and test splits from them)",
        )


def _check_depth(found: Listing) -> None:
    """Raise ``TunerError`` if the classes are one directory deeper, as in unpacked archives."""
    if len(found.classes) != 1:
        return
    (only,) = found.classes
    below = {file.relative_to(found.root / only).parent for file in found.files}
    if len(below) > 1 and Path() not in below:
        raise TunerError(
            f"{_named(found.root)} contains only {printable(only, kept='')}",
            hint=f"{_named(found.root / only)}, if its directories are the classes",
        )


def _named(path: str | Path) -> str:
    return f"data.root={printable(str(path), kept='')}"
