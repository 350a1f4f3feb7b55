"""Copies of a run directory at a URL: what each attempt has left there, and for whoever goes on.

Below ``<url>/<run directory>/<attempt>/`` lies every file once, named after the digest of its
content, and a manifest a push: ``{"files": {name: digest}}``.  Nothing is ever overwritten, so no
reader meets half a file; a manifest comes after all that it names; and an attempt writes below its
own number alone, so that a worker which was paused, and believes that the trial is still its own,
cannot undo what its successor does.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from tuner.urls import masked

KEPT = 2
"""Pushes of an attempt that are kept: where the last cannot be read, the one before it is."""
BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
"""Protocols without directories: making one would make the bucket."""

Place = tuple[int, int]
"""Of a push: the attempt, and the how manieth of it."""


class Pushes:
    """Those of one run directory; one attempt adds to its own.

    Raises: OSError, and whatever else the driver of the URL raises.
    """

    def __init__(self, url: str, name: str, attempt: int) -> None:
        import fsspec  # a tenth of a second, which only those pay who use it

        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = f"{root.rstrip('/')}/{name}"
        self.shown = masked(url)
        self.attempt = attempt
        self.made = 0

    def found(self) -> list[tuple[Place, str]]:
        """All there are, with the paths of their manifests, the latest first."""
        places: list[tuple[Place, str]] = []
        for attempt in self.listed(self.root):
            for name in self.listed(f"{self.root}/{attempt}"):
                push, _, kind = name.partition(".")
                if kind:
                    places.append(((int(attempt), int(push)), f"{self.root}/{attempt}/{name}"))
        return sorted(places, reverse=True)

    def fetch(self, manifest: str, run_dir: Path) -> None:
        """Bring all files of a push, or none.

        Raises: FileNotFoundError, ValueError where something is missing or damaged.
        """
        files: dict[str, str] = json.loads(self.fs.cat_file(manifest))["files"]
        drafts: list[tuple[Path, Path]] = []
        try:
            for name, wanted in files.items():
                path = run_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                drafts.append((path.with_name(f".{path.name}.{uuid.uuid4().hex}"), path))
                self.fs.get_file(f"{manifest.rpartition('/')[0]}/{wanted}", str(drafts[-1][0]))
                with drafts[-1][0].open("rb") as file:
                    if digest(file) != wanted:
                        raise ValueError(f"{name} is damaged")
            for draft, path in drafts:
                draft.replace(path)
        finally:
            for draft, _ in drafts:
                draft.unlink(missing_ok=True)

    def open(self, name: str) -> Any:
        """A new file of this attempt's, to write bytes to."""
        directory = f"{self.root}/{self.attempt:06d}"
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else self.fs.protocol
        if BUCKETS.isdisjoint(protocols):
            self.fs.makedirs(directory, exist_ok=True)
        return self.fs.open(f"{directory}/{name}", "wb")

    def close(self, files: Mapping[str, str]) -> Place:
        """Make a push of what has been written: names, and the digests that they are under."""
        with self.open(f"{self.made + 1:06d}.json") as file:
            file.write(json.dumps({"files": files}).encode())
        self.made += 1
        return self.attempt, self.made

    def tidy(self, wanted: set[str]) -> None:
        """Delete what no kept push of this attempt names, and earlier attempts."""
        for name in self.listed(f"{self.root}/{self.attempt:06d}"):
            push, _, kind = name.partition(".")
            spare = int(push) <= self.made - KEPT if kind else name not in wanted
            if spare:
                self.fs.rm_file(f"{self.root}/{self.attempt:06d}/{name}")
        if self.made == KEPT:
            for attempt in self.listed(self.root):
                if int(attempt) < self.attempt:
                    self.fs.rm(f"{self.root}/{attempt}", recursive=True)

    def remove(self) -> None:
        """Delete all of them."""
        if self.listed(self.root):
            self.fs.rm(self.root, recursive=True)

    def listed(self, directory: str) -> list[str]:
        """Names in a directory.  Unlike `exists` and `find` it raises where nobody answers."""
        try:
            return [path.rstrip("/").split("/")[-1] for path in self.fs.ls(directory, detail=False)]
        except FileNotFoundError:
            return []


def digest(file: BufferedReader) -> str:
    """What a file's content is named after."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]
