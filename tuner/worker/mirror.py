"""Mirror a trial's run directory at a URL (``mirror_snapshots``), for workers without a shared
disk."""

import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tuner.errors import Mistake, TunerError
from tuner.files import replace
from tuner.log import log
from tuner.storage.urls import masked
from tuner.worker.mirror_snapshots import SnapshotId, Snapshots, digest

RECORD = ".mirror.json"
"""File in the run directory: the attempt and push with which it was last equal."""
EVERY = 30.0
"""Seconds after which new files are pushed without a report, because epochs may be long."""
LAST_WAIT = 45.0
"""Seconds that a trial's end waits for its last push; a worker that must stop has 60."""

Identity = tuple[int, int, int]


class Changed(Exception):
    """A file was written to while it was read."""


def mistakes(url: str | None) -> list[Mistake]:
    """Return the errors in ``study.mirror`` that can be found without a connection."""
    if url is None:
        return []
    import fsspec  # takes 0.1 s: imported only if it is used

    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
    except ImportError as error:
        return [Mistake("study.mirror", f"{masked(url)} needs another package", str(error))]
    except ValueError as error:
        hint = "s3://bucket/path, gs://bucket/path, or null"
        return [Mistake("study.mirror", str(error), hint)]
    return []


def probe(url: str | None) -> None:
    """Write a file at the URL and delete it.

    Raises:
        TunerError: The file cannot be written.
    """
    if url is None:
        return
    with _reached(url):
        pushes = Snapshots(url, f".probe-{uuid.uuid4().hex}", 0)
        with pushes.open("probe") as file:
            file.write(b"probe")
        pushes.remove()


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a driver may raise anything
        raise TunerError(
            f"{masked(url)} cannot be used: {type(error).__name__}: {error}",
            key="study.mirror",
            hint="check bucket, credentials and endpoint, then run the same command to resume",
        ) from error


class Mirror:
    """One run directory and its copy. ``push`` returns at once; a separate thread uploads."""

    def __init__(self, url: str, run_dir: Path, attempt: int) -> None:
        self.run_dir = run_dir
        self.pushes = Snapshots(url, run_dir.name, attempt)
        self.digests: dict[Identity, str] = {}
        """Digests of the files that are uploaded already."""
        self.last: dict[str, str] = {}
        self.wanted, self.closing = threading.Event(), False
        self.thread = threading.Thread(target=self._serve, name="tuner-mirror", daemon=True)

    def fetch(self) -> bool:
        """Update the run directory to the latest attempt's files; return False if it is up to date.

        Files of this machine that are at least as new are kept.

        Raises:
            OSError: Or any exception of the URL's driver.
        """
        found = self.pushes.found()
        for place, manifest in found:
            if _record(self.run_dir) >= place:
                return False
            try:
                self.pushes.fetch(manifest, self.run_dir)
            except (FileNotFoundError, ValueError) as error:
                log.warning("%s: push %s cannot be used: %s", self.pushes.shown, place, error)
                continue
            _note(self.run_dir, place)
            return True
        if found:
            log.error("%s: no complete snapshot; using the local files", self.pushes.shown)
        return False

    def push(self) -> None:
        """Upload the contents of the run directory in the background, unless in progress."""
        self.wanted.set()

    def close(self) -> None:
        """Wait until the contents of the run directory are uploaded, or cannot be."""
        self.closing = True
        self.wanted.set()
        self.thread.join(LAST_WAIT)
        if self.thread.is_alive():
            log.warning("%s: the last copy takes too long and is abandoned", self.pushes.shown)

    def _serve(self) -> None:
        last = False
        while not last:
            self.wanted.wait(EVERY)
            self.wanted.clear()
            last = self.closing  # said before: what is there now is all that there will be
            try:
                self._upload()
            except Changed as error:
                log.info(
                    "%s: %s is being written; copying it at the next report",
                    self.pushes.shown,
                    error,
                )
            except Exception as error:  # a driver may raise anything; the training continues
                shown = self.pushes.shown
                log.warning("%s: not copied (%s: %s)", shown, type(error).__name__, error)

    def _upload(self) -> None:
        files = {str(p.relative_to(self.run_dir)): p for p in _files(self.run_dir)}
        sent = {name: self._sent(path) for name, path in files.items()}
        now = {name: found for name, found in sent.items() if found is not None}
        if now == self.last or not now:
            return
        _note(self.run_dir, self.pushes.close(now))
        before, self.last = self.last, now
        self.pushes.tidy({*now.values(), *before.values()})

    def _sent(self, path: Path) -> str | None:
        """Upload a file unless it is there; return its digest, None if it has vanished."""
        try:
            with path.open("rb") as file:
                before = _identity(file)
                if before in self.digests:
                    return self.digests[before]
                found = digest(file)
                file.seek(0)
                with self.pushes.open(found) as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
                if _identity(file) != before:
                    raise Changed(path.name)
        except FileNotFoundError:
            return None
        self.digests[before] = found
        return found


@contextmanager
def kept(url: str | None, run_dir: Path, attempt: int, *, first: bool) -> Iterator[Mirror | None]:
    """Yield the mirror of a run directory while a trial runs in it; None without a URL.

    A configuration's ``first`` attempt has nothing to fetch.

    Raises:
        TunerError: The URL cannot be reached; starting over would lose what is stored there.
    """
    if url is None:
        yield None
        return
    with _reached(url):
        mirror = Mirror(url, run_dir, attempt)
        if not first and mirror.fetch():
            log.info("resuming from the copy of %s in %s", run_dir.name, mirror.pushes.shown)
    mirror.thread.start()
    try:
        yield mirror
    finally:
        mirror.close()


def _files(run_dir: Path) -> list[Path]:
    """Return the files to mirror: all except hidden ones, such as incomplete files."""
    found = []
    for directory, inner, names in os.walk(run_dir):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(directory, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _identity(file: BinaryIO) -> Identity:
    """Return an identity that survives renaming a file, and changes when it is written to."""
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _record(run_dir: Path) -> SnapshotId:
    try:
        attempt, push = json.loads((run_dir / RECORD).read_text())
        return int(attempt), int(push)
    except (OSError, ValueError, TypeError):
        return 0, 0


def _note(run_dir: Path, place: SnapshotId) -> None:
    replace(run_dir / RECORD, json.dumps(place))
