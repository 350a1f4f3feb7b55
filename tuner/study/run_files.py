"""The files of trials on this machine: run directories, their checkpoints, and their sizes."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

CHECKPOINTS = "checkpoint*"
"""Names of checkpoints, directly in a run directory; an objective's other files are not touched."""
PREVIOUS = "checkpoint.previous*"
"""Names of the checkpoints that an unfinished trial keeps beside the latest one."""


def directory(study_dir: str, uid: str, number: int, settings: Sequence[str]) -> Path:
    """Return the directory of a configuration's files, the same for all of its attempts.

    Its name ends in a digest of the study's uid and of the whole configuration, so that no
    checkpoint of another study or configuration is resumed. Locations of data (``root``) and
    ``download`` are not part of the digest: they may differ between the machines of a study.

    ``number`` is that of the configuration, ``settings`` are its overrides and its lines of YAML.
    """
    kept = [line for line in [uid, *settings] if not re.search(r"\b(root|download)\s*[:=]", line)]
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:8]
    return Path(study_dir) / "trials" / f"{number:05d}-{digest}"


def checkpoint(run_dir: Path) -> Path | None:
    """Return the latest checkpoint in a run directory, None if there is none."""
    found = [
        path
        for path in run_dir.glob(CHECKPOINTS)
        if not path.match(PREVIOUS) and path.suffix != ".damaged" and not path.is_symlink()
    ]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def remove(paths: Iterable[Path]) -> None:
    """Remove files and whole directories; links are removed, but not their targets."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a directory, without following links."""
    if not path.is_dir() or path.is_symlink():
        return _bytes(path)
    return sum(_bytes(Path(root, name)) for root, _, names in os.walk(path) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # removed in the meantime, or not readable
        return 0
