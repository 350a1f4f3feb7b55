"""The processes of rank 1 and up: how they start, fail and end."""

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

# Seconds in which a rank whose failure broke a connection has said what it was.
LAST_WORDS = 5.0
NEVER = Every(epochs=sys.maxsize, seconds=1e9)

Words = tuple[BaseException, str] | None
"""What a rank raised, and its traceback; None of one that died without a word."""


class Others:
    """The processes of rank 1 and up; none outlives the context."""

    def __init__(self, directory: Path, places: list[str]) -> None:
        self.directory, self.places = directory, places
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.failed = threading.Event()
        self.first: tuple[int, Words] = 0, None
        """Which rank has ``failed`` first, and how."""
        self.watcher = threading.Thread(target=self._watch, name="tuner-ranks", daemon=True)

    def start(self, train: Callable[..., float], parts: dict[str, Any], run_dir: Path) -> None:
        """Starts each rank in a run directory of its own, with a copy of the checkpoints.

        Each judges for itself, and so as rank 0 does, which of them is whole.

        Raises: as ``raise_failure`` where one does not arrive.
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
        """Returns once each has loaded what it needs: who fails on the way would be waited for."""
        for rank, pipe in enumerate(self.pipes, start=1):
            arrived, words = _read(pipe)
            if not arrived:
                self._raise(rank, words)

    def watch(self) -> None:
        """From here on the first rank to fail ends all that the others wait for."""
        self.watcher.start()

    def _watch(self) -> None:
        """What waits on a GPU for a rank that has failed would wait for ever."""
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
        """Raises: RuntimeError if a rank has failed before all that was computed here was true."""
        if self.places[0].startswith("cuda"):
            torch.cuda.current_stream().synchronize()
        if self.failed.is_set():
            raise RuntimeError(f"rank {self.first[0]} has failed")

    def raise_failure(self, error: BaseException) -> None:
        """Raises what the first rank to fail raised; returns if ``error`` is no consequence of it.

        Asked while the connections last: what the other ranks raise later is a consequence.
        """
        lost = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if self.failed.wait(LAST_WORDS if lost else 0.0):
            self.watcher.join()  # nothing is aborted any more once the group is left
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
        """Waits for those who were told to leave; ends those who may be stuck."""
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
    """Whether a rank is in order, and else its last words."""
    try:
        words = pipe.recv()
    except EOFError:
        return False, None
    return words is None, words


def _other(
    rank: int, train: Callable[..., float], parts: dict[str, Any], run_dir: Path,
    places: list[str], directory: str, pipe: Connection,
) -> None:  # fmt: skip
    """What a process of rank 1 or up does.

    None goes through the pipe when it has arrived, and when it leaves in order; else last words.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever signals all ranks: rank 0 decides
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
        os._exit(1)  # to leave the group in order could mean to wait for the others
    pipe.send(None)
    group.leave()


def _end_with_rank_0() -> None:
    """Ends this process if rank 0 dies, for which it could wait for ever."""
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
