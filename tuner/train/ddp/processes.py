"""The processes of ranks above 0: how they start, fail and end."""

import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

import tuner.train.ddp.group as group
from tuner.errors import Stop
from tuner.train.settings import Every

# Seconds to wait for the error of a rank whose failure broke a connection.
LAST_WORDS = 5.0
NEVER = Every(epochs=sys.maxsize, seconds=1e9)

Words = tuple[BaseException, str] | None
"""The exception that a rank raised, and its traceback; None if the process died."""


class Others:
    """Context manager for the processes of ranks above 0; it ends all of them on exit."""

    def __init__(self, directory: Path, places: list[str]) -> None:
        self.directory, self.places = directory, places
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.failed = threading.Event()
        self.first: tuple[int, Words] = 0, None
        """The first rank that failed, and its exception."""
        self.watcher = threading.Thread(target=self._watch, name="tuner-ranks", daemon=True)

    def start(self, train: Callable[..., float], parts: dict[str, Any], run_dir: Path) -> None:
        """Start each rank in its own run directory, with a copy of the checkpoints.

        Each rank selects the last intact checkpoint itself, so all select the same.

        Raises:
            Exception: The exception of a rank that fails before it joins the group.
        """
        context = multiprocessing.get_context("spawn")
        for rank in range(1, len(self.places)):
            scratch = self.directory / str(rank)
            scratch.mkdir()
            for saved in run_dir.glob("checkpoint*.pt"):
                shutil.copy(saved, scratch)
            ours, theirs = context.Pipe(duplex=False)
            arguments = (rank, train, parts, scratch, self.places, str(self.directory), theirs)
            process = context.Process(target=_other, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.pipes.append(ours)
        self._wait_for_arrivals()

    def _wait_for_arrivals(self) -> None:
        """Wait until each rank has imported its code; joining would wait for one that failed."""
        for rank, pipe in enumerate(self.pipes, start=1):
            arrived, words = _read(pipe)
            if not arrived:
                self._raise(rank, words)

    def watch(self) -> None:
        """Start to watch: from now on, the first failing rank ends the others."""
        self.watcher.start()

    def _watch(self) -> None:
        """End all ranks when one fails, because NCCL operations would wait for it forever."""
        at_work = dict(zip(self.pipes, range(1, len(self.places)), strict=True))
        while at_work:
            for pipe in wait(list(at_work)):
                assert isinstance(pipe, Connection)
                rank = at_work.pop(pipe)
                in_order, words = _read(pipe)
                if not in_order:
                    self.first = rank, words
                    self.failed.set()
                    for process in self.processes:
                        process.kill()
                    group.abort()
                    return

    def check(self) -> None:
        """Check that no rank failed before the work queued on this GPU was finished.

        Raises:
            RuntimeError: A rank has failed.
        """
        if self.places[0].startswith("cuda"):
            torch.cuda.current_stream().synchronize()
        if self.failed.is_set():
            raise RuntimeError(f"rank {self.first[0]} has failed")

    def raise_failure(self, error: BaseException) -> None:
        """Raise the exception of the first rank that failed; return if none has.

        ``error`` is what rank 0 raised.  Call this before the group is left: what other ranks
        raise afterwards is a consequence of that.
        """
        lost = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if self.failed.wait(LAST_WORDS if lost else 0.0):
            self.watcher.join()  # so that it does not abort after the group is left
            self._raise(*self.first)

    def _raise(self, rank: int, words: Words) -> None:
        if words is None:
            process = self.processes[rank - 1]
            process.join(LAST_WORDS)
            raise RuntimeError(f"rank {rank} died with exit code {process.exitcode}")
        error, text = words
        raise error from RuntimeError(f"in rank {rank}:\n{text}")

    def __enter__(self) -> "Others":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Wait for ranks that were told to leave, then kill those that may be stuck."""
        for process in self.processes:
            if kind is None or issubclass(kind, Stop):
                process.join(LAST_WORDS)
            process.kill()
        if self.watcher.ident is not None:
            self.watcher.join()
        for process, pipe in zip(self.processes, self.pipes, strict=True):
            process.join()
            pipe.close()


def _read(pipe: Connection) -> tuple[bool, Words]:
    """Return whether a rank sent None, which means success, and what it sent."""
    try:
        words = pipe.recv()
    except EOFError:
        return False, None
    return words is None, words


def _other(
    rank: int, train: Callable[..., float], parts: dict[str, Any], run_dir: Path,
    places: list[str], directory: str, pipe: Connection,
) -> None:  # fmt: skip
    """The main function of a rank above 0.

    It sends None when it is ready and when it has finished, and its exception if it fails.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # may reach all ranks: rank 0 decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    parts = parts | {"trainer": replace(parts["trainer"], checkpoint_every=NEVER)}
    try:
        group.use(places[rank])
        pipe.send(None)
        group.join(rank, places, directory)
        train(**parts, report=group.listening, run_dir=run_dir, device=places[rank])
    except group.Left:
        pass
    except BaseException as error:
        pipe.send((_sendable(error), traceback.format_exc()))
        os._exit(1)  # leaving the group could wait for the others
    pipe.send(None)
    group.leave()


def _end_with_rank_0() -> None:
    """End this process if rank 0 dies; otherwise it could wait for rank 0 forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
