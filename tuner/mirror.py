"""Run directories of trials, kept at a URL too, for workers that share no disk.

Below ``<study.mirror>/<study>/<run directory>/<attempt>/`` lies every file once, named after the
digest of its content, and a manifest a push: ``{"files": {name: digest}}``.  Nothing is ever
overwritten, so no reader meets half a file; a manifest comes after all that it names; and an
attempt writes below its own number alone, so that a worker which was paused, and believes that the
trial is still its own, cannot undo what its successor does.
"""

import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tuner.errors import TunerError
from tuner.log import log
from tuner.storage import masked

RECORD = ".mirror.json"
"""In the run directory: the attempt and push that it was last equal to."""
KEPT = 2
"""Pushes of an attempt that are kept: where the last cannot be read, the one before it is."""
EVERY = 30.0
"""Seconds after which new files are looked for though nothing was reported: epochs may be long."""
LAST_WAIT = 45.0
"""Seconds that a trial's end waits for its last push; who is asked to leave has 60."""
BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
"""Protocols without directories: making one would make the bucket."""

Place = tuple[int, int]
Identity = tuple[int, int, int]


class Changed(Exception):
    """A file was written to while it was read."""


def mistakes(url: str | None) -> list[str]:
    """What is wrong with ``study.mirror``, as far as that can be told without a connection."""
    if url is None:
        return []
    import fsspec  # a tenth of a second, which only those pay who use it

    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
    except ImportError as error:
        return [f"study.mirror: {masked(url)} needs another package; hint: {error}"]
    except ValueError as error:
        return [f"study.mirror: {error}; hint: s3://bucket/path, gs://bucket/path, or null"]
    return []


def probe(url: str | None) -> None:
    """Write a file there and delete it.  Raises: TunerError."""
    if url is None:
        return
    with _reached(url):
        mirror = Mirror(url, Path(f".probe-{uuid.uuid4().hex}"), 0)
        with mirror._open("probe") as file:
            file.write(b"probe")
        mirror.remove()


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a driver may raise anything
        raise TunerError(
            f"study.mirror: {masked(url)} cannot be used: {type(error).__name__}: {error}; hint: "
            "are bucket, credentials and endpoint right? The same command goes on afterwards"
        ) from error


class Mirror:
    """The copy of one run directory.  ``push`` returns at once; a thread of its own uploads."""

    def __init__(self, url: str, run_dir: Path, attempt: int) -> None:
        import fsspec

        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = f"{root.rstrip('/')}/{run_dir.name}"
        self.shown = masked(url)
        self.run_dir, self.attempt = run_dir, attempt
        self.pushes = 0
        self.digests: dict[Identity, str] = {}
        self.last: dict[str, str] = {}
        self.wanted, self.closing = threading.Event(), False
        self.thread = threading.Thread(target=self._serve, name="tuner-mirror", daemon=True)

    def fetch(self) -> bool:
        """Bring the run directory to what the latest attempt left; False if it is so already.

        What this machine has is kept where it is as new, or newer.  Raises: OSError and what the
        driver of the URL raises.
        """
        manifests = sorted(self._manifests(), reverse=True)
        for place, path in manifests:
            if _record(self.run_dir) >= place:
                return False
            try:
                self._download(json.loads(self.fs.cat_file(path))["files"], path)
            except (FileNotFoundError, ValueError) as error:
                log.warning("%s: push %s cannot be used: %s", self.shown, place, error)
                continue
            _note(self.run_dir, place)
            return True
        if manifests:
            log.error("%s: nothing there is whole; going on with what is here", self.shown)
        return False

    def push(self) -> None:
        """Have what the run directory holds uploaded, unless that is under way."""
        self.wanted.set()

    def close(self) -> None:
        """Wait until what the run directory holds is uploaded, or cannot be."""
        self.closing = True
        self.wanted.set()
        self.thread.join(LAST_WAIT)
        if self.thread.is_alive():
            log.warning("%s: the last push takes too long, and is left", self.shown)

    def remove(self) -> None:
        """Delete the copy."""
        if self._list(self.root):
            self.fs.rm(self.root, recursive=True)

    def _serve(self) -> None:
        last = False
        while not last:
            self.wanted.wait(EVERY)
            self.wanted.clear()
            last = self.closing  # said before: what is there now is all that there will be
            try:
                self._upload()
            except Changed as error:
                log.info("%s: %s is being written; at the next report", self.shown, error)
            except Exception as error:  # whatever the driver raises; the training goes on
                log.warning("%s: not copied (%s: %s)", self.shown, type(error).__name__, error)

    def _upload(self) -> None:
        files = {str(p.relative_to(self.run_dir)): p for p in _files(self.run_dir)}
        digests = {name: self._sent(path) for name, path in files.items()}
        manifest = {name: digest for name, digest in digests.items() if digest is not None}
        if manifest == self.last or not manifest:
            return
        place = self.attempt, self.pushes + 1
        with self._open(f"{place[1]:06d}.json") as file:
            file.write(json.dumps({"files": manifest}).encode())
        self.pushes, before, self.last = place[1], self.last, manifest
        _note(self.run_dir, place)
        self._tidy({*manifest.values(), *before.values()})

    def _sent(self, path: Path) -> str | None:
        """The digest of a file, uploaded unless it is there; None if it has gone meanwhile."""
        try:
            with path.open("rb") as file:
                before = _identity(file)
                if before in self.digests:
                    return self.digests[before]
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
                file.seek(0)
                with self._open(digest) as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
                if _identity(file) != before:
                    raise Changed(path.name)
        except FileNotFoundError:
            return None
        self.digests[before] = digest
        return digest

    def _tidy(self, wanted: set[str]) -> None:
        """Delete what no kept push of this attempt names, and earlier attempts."""
        for name in self._list(f"{self.root}/{self.attempt:06d}"):
            push, _, kind = name.partition(".")
            spare = int(push) <= self.pushes - KEPT if kind else name not in wanted
            if spare:
                self.fs.rm_file(f"{self.root}/{self.attempt:06d}/{name}")
        if self.pushes == KEPT:
            for attempt in self._list(self.root):
                if int(attempt) < self.attempt:
                    self.fs.rm(f"{self.root}/{attempt}", recursive=True)

    def _open(self, name: str) -> Any:
        directory = f"{self.root}/{self.attempt:06d}"
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else self.fs.protocol
        if BUCKETS.isdisjoint(protocols):
            self.fs.makedirs(directory, exist_ok=True)
        return self.fs.open(f"{directory}/{name}", "wb")

    def _manifests(self) -> Iterator[tuple[Place, str]]:
        for attempt in self._list(self.root):
            for name in self._list(f"{self.root}/{attempt}"):
                push, _, kind = name.partition(".")
                if kind:
                    yield (int(attempt), int(push)), f"{self.root}/{attempt}/{name}"

    def _list(self, directory: str) -> list[str]:
        """Names in a directory.  Unlike `exists` and `find` it raises where nobody answers."""
        try:
            return [path.rstrip("/").split("/")[-1] for path in self.fs.ls(directory, detail=False)]
        except FileNotFoundError:
            return []

    def _download(self, files: dict[str, str], manifest: str) -> None:
        """All files of a push, or none.  Raises: ValueError for one that is damaged."""
        drafts: list[tuple[Path, Path]] = []
        try:
            for name, digest in files.items():
                path = self.run_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                drafts.append((path.with_name(f".{path.name}.{uuid.uuid4().hex}"), path))
                self.fs.get_file(f"{manifest.rpartition('/')[0]}/{digest}", str(drafts[-1][0]))
                with drafts[-1][0].open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest()[:32] != digest:
                        raise ValueError(f"{name} is damaged")
            for draft, path in drafts:
                draft.replace(path)
        finally:
            for draft, _ in drafts:
                draft.unlink(missing_ok=True)


@contextmanager
def kept(url: str | None, run_dir: Path, attempt: int, *, first: bool) -> Iterator[Mirror | None]:
    """The mirror of a run directory while a trial runs in it; None without a URL.

    A configuration's ``first`` attempt has nothing to fetch.  Raises: TunerError where the URL
    cannot be reached: to start anew would be to lose what lies there.
    """
    if url is None:
        yield None
        return
    with _reached(url):
        mirror = Mirror(url, run_dir, attempt)
        if not first and mirror.fetch():
            log.info("going on from the copy of %s in %s", run_dir.name, mirror.shown)
    mirror.thread.start()
    try:
        yield mirror
    finally:
        mirror.close()


def _files(run_dir: Path) -> list[Path]:
    """What is mirrored: everything but hidden files, such as those only half-written."""
    found = []
    for directory, inner, names in os.walk(run_dir):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(directory, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _identity(file: BinaryIO) -> Identity:
    """What stays the same when a file is renamed, and not when it is written to."""
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _record(run_dir: Path) -> Place:
    try:
        attempt, push = json.loads((run_dir / RECORD).read_text())
    except (OSError, ValueError):
        return 0, 0
    return int(attempt), int(push)


def _note(run_dir: Path, place: Place) -> None:
    draft = run_dir / f"{RECORD}.{uuid.uuid4().hex}"
    draft.write_text(json.dumps(place))
    draft.replace(run_dir / RECORD)
