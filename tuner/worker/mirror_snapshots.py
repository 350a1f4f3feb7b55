"""Snapshots of a run directory at a URL, written by each attempt for the workers that resume it.

Below ``<url>/<run directory>/<attempt>/`` lies every file once, named after the digest of its
content, and one manifest per push: ``{"files": {name: digest}}``. Nothing is ever overwritten, so
readers never see incomplete files. A manifest is written after all files that it names. An attempt
writes only below its own number, so that a worker that was suspended, and still believes to hold
the trial, cannot undo the work of its successor.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from tuner.files import replaced
from tuner.storage.urls import masked

KEPT = 2
"""Number of pushes of an attempt to keep: if the last one cannot be read, the one before is."""
BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
"""Protocols without directories: creating one would create the bucket."""

MANIFEST = re.compile(r"(\d{1,9})\.json")
DIGEST = re.compile(r"[0-9a-f]{32}")
"""Names of the files of a push; any other file at the URL is not tuner's."""

SnapshotId = tuple[int, int]
"""Identifies a push: the number of the attempt, and the number of the push within it."""


class Snapshots:
    """The pushes of one run directory; one attempt adds its own.

    Raises:
        OSError: Or any exception of the URL's driver.
    """

    def __init__(self, url: str, name: str, attempt: int) -> None:
        import fsspec  # takes 0.1 s: imported only if it is used

        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = f"{root.rstrip('/')}/{name}"
        self.shown = masked(url)
        self.attempt = attempt
        self.made = 0

    def found(self) -> list[tuple[SnapshotId, str]]:
        """Return all pushes with the paths of their manifests, the latest first."""
        places: list[tuple[SnapshotId, str]] = []
        for attempt in self.listed(self.root):
            for name in self.listed(f"{self.root}/{attempt}"):
                if attempt.isdecimal() and (made := MANIFEST.fullmatch(name)):
                    place = int(attempt), int(made[1])
                    places.append((place, f"{self.root}/{attempt}/{name}"))
        return sorted(places, reverse=True)

    def fetch(self, manifest: str, run_dir: Path) -> None:
        """Download all files of a push, or none.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged or would be written elsewhere, as others can write to the
                URL.
        """
        files = _listed(self.fs.cat_file(manifest), run_dir)
        with ExitStack() as drafts:
            for name, wanted in files.items():
                draft = drafts.enter_context(replaced(run_dir / name))
                self.fs.get_file(f"{manifest.rpartition('/')[0]}/{wanted}", str(draft))
                with draft.open("rb") as file:
                    if digest(file) != wanted:
                        raise ValueError(f"{name} is damaged")

    def open(self, name: str) -> Any:
        """Open a new file of this attempt for writing bytes."""
        directory = f"{self.root}/{self.attempt:06d}"
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else self.fs.protocol
        if BUCKETS.isdisjoint(protocols):
            self.fs.makedirs(directory, exist_ok=True)
        return self.fs.open(f"{directory}/{name}", "wb")

    def close(self, files: Mapping[str, str]) -> SnapshotId:
        """Complete a push of the written files: names, and the digests by which they are stored."""
        with self.open(f"{self.made + 1:06d}.json") as file:
            file.write(json.dumps({"files": files}).encode())
        self.made += 1
        return self.attempt, self.made

    def tidy(self, wanted: set[str]) -> None:
        """Delete files that no kept push of this attempt names, and earlier attempts."""
        for name in self.listed(f"{self.root}/{self.attempt:06d}"):
            made = MANIFEST.fullmatch(name)
            superfluous = int(made[1]) <= self.made - KEPT if made else name not in wanted
            if superfluous:
                self.fs.rm_file(f"{self.root}/{self.attempt:06d}/{name}")
        if self.made == KEPT:
            for attempt in self.listed(self.root):
                if attempt.isdecimal() and int(attempt) < self.attempt:
                    self.fs.rm(f"{self.root}/{attempt}", recursive=True)

    def remove(self) -> None:
        """Delete all pushes."""
        if self.listed(self.root):
            self.fs.rm(self.root, recursive=True)

    def listed(self, directory: str) -> list[str]:
        """Return the names in a directory; unlike `exists` and `find`, raise if unreachable."""
        try:
            return [path.rstrip("/").split("/")[-1] for path in self.fs.ls(directory, detail=False)]
        except FileNotFoundError:
            return []


def _listed(manifest: bytes, run_dir: Path) -> dict[str, str]:
    """Return the digests of a manifest by file name; ``ValueError`` for names outside of it."""
    try:
        files = json.loads(manifest)["files"]
        if not all(DIGEST.fullmatch(wanted) for wanted in files.values()):
            raise ValueError("its digests are malformed")
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("it is not a manifest") from error
    for name in files:
        path = PurePosixPath(name)
        hidden = any(part.startswith(".") for part in path.parts)  # ".." too; such are not pushed
        within = any(str(above) in files for above in path.parents)
        inside = (run_dir / path).parent.resolve().is_relative_to(run_dir.resolve())
        named = path.parts and name.isprintable() and not path.is_absolute()
        if not named or hidden or within or not inside:
            raise ValueError(f"{name!r} does not lie in a run directory")
    return dict(files)


def digest(file: BufferedReader) -> str:
    """Return the digest of a file's content, by which it is named."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]
