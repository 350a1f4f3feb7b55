"""The processes of a trial that is trained on several devices: how they start, agree and end."""

import functools
import multiprocessing
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from tuner.errors import ConfigError, Stop
from tuner.train import hardware
from tuner.train.settings import Every, Settings

Train = TypeVar("Train", bound=Callable[..., float])

# How long a rank waits for the others: a report may wait that long for a database.
PATIENCE = timedelta(hours=1)
# Seconds in which a rank whose failure broke a connection has said what it was.
LAST_WORDS = 5.0
NEVER = Every(epochs=sys.maxsize, seconds=1e9)


class Left(Stop):
    """Rank 0 left, and so does this one."""


def ranks(train: Train) -> Train:
    """Has ``train`` run by ``trainer.devices`` processes where that is above 1.

    Raises: what ``train`` raises in any of them, with its own traceback; ConfigError.
    """

    @functools.wraps(train)
    def spread(
        *, trainer: Settings, report: Callable[..., None], run_dir: Path,
        device: str | None = None, **parts: Any,
    ) -> float:  # fmt: skip
        given = parts | {"trainer": trainer}
        if trainer.devices == 1 or distributed.is_initialized():
            return train(**given, report=report, run_dir=run_dir, device=device)
        places = _places(trainer, device)
        with tempfile.TemporaryDirectory() as directory, Others(Path(directory)) as others:
            others.start(spread, given, run_dir, places)
            try:
                with _group(0, places, directory):
                    return train(
                        **given, report=_telling(report), run_dir=run_dir, device=places[0]
                    )
            except RuntimeError as error:  # such as a lost connection to a rank that failed
                others.raise_failure(error)
                raise

    return spread  # type: ignore[return-value]


def _places(trainer: Settings, device: str | None) -> list[str]:
    """The device of each rank: the trial's own, and those after it.

    Raises: ConfigError where there are too few, or a batch cannot be shared.
    """
    count, first = trainer.devices, hardware.choose(device)
    mistakes = []
    if trainer.batch_size % count:
        mistakes.append(
            f"trainer.batch_size={trainer.batch_size} cannot be shared by"
            f" trainer.devices={count} (hint: a multiple of it)"
        )
    if trainer.fused > 1:
        mistakes.append(
            f"trainer.devices={count} and trainer.fused={trainer.fused} (hint: one of them 1)"
        )
    start = first.index or 0
    if first.type != "cpu" and start + count > torch.accelerator.device_count():
        mistakes.append(
            f"trainer.devices={count} from {first} on, but this machine has"
            f" {torch.accelerator.device_count()} (hint: fewer, or another device)"
        )
    if mistakes:
        raise ConfigError(mistakes)
    if first.type == "cpu":
        return ["cpu"] * count
    return [f"{first.type}:{start + rank}" for rank in range(count)]


class Others:
    """The processes of rank 1 and up; none outlives the context."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []

    def start(
        self, train: Callable[..., float], parts: dict[str, Any], run_dir: Path, places: list[str]
    ) -> None:
        """Starts each rank in a run directory of its own, with a copy of the checkpoints.

        Each judges for itself, and so as rank 0 does, which of them is whole.
        """
        context = multiprocessing.get_context("spawn")
        for rank in range(1, len(places)):
            scratch = self.directory / str(rank)
            scratch.mkdir()
            for saved in run_dir.glob("checkpoint*.pt"):
                shutil.copy(saved, scratch)
            ours, theirs = context.Pipe(duplex=False)
            arguments = (rank, train, parts, scratch, places, str(self.directory), theirs)
            process = context.Process(target=_other, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.pipes.append(ours)
        self._wait_for_arrivals()

    def _wait_for_arrivals(self) -> None:
        """Returns once each has loaded what it needs: who dies on the way would be waited for.

        Raises: RuntimeError naming a rank that died.
        """
        for rank, pipe in enumerate(self.pipes, start=1):
            try:
                pipe.recv()
            except EOFError as error:
                raise self._death(rank) from error

    def _death(self, rank: int) -> RuntimeError:
        process = self.processes[rank - 1]
        process.join(LAST_WORDS)
        return RuntimeError(f"rank {rank} died with exit code {process.exitcode}")

    def raise_failure(self, consequence: BaseException) -> None:
        """Raises what the first of the ranks to fail raised; returns if none did."""
        if isinstance(consequence, torch.OutOfMemoryError):
            return
        for pipe in wait(self.pipes, timeout=LAST_WORDS):
            assert isinstance(pipe, Connection)
            rank = 1 + self.pipes.index(pipe)
            try:
                error, text = pipe.recv()
            except EOFError:
                raise self._death(rank) from consequence
            if not isinstance(error, Stop):
                raise error from RuntimeError(f"in rank {rank}:\n{text}")

    def __enter__(self) -> "Others":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Waits for those who were told to leave; ends those who may be stuck."""
        for process in self.processes:
            if kind is None or issubclass(kind, Stop):
                process.join(LAST_WORDS)
            process.kill()
            process.join()
        for pipe in self.pipes:
            pipe.close()


def _other(
    rank: int, train: Callable[..., float], parts: dict[str, Any], run_dir: Path,
    places: list[str], directory: str, pipe: Connection,
) -> None:  # fmt: skip
    """What a process of rank 1 or up does; its last words go through the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever signals all ranks: rank 0 decides
        signal.signal(number, signal.SIG_IGN)
    pipe.send("arrived")
    parts = parts | {"trainer": replace(parts["trainer"], checkpoint_every=NEVER)}
    try:
        with _group(rank, places, directory):
            train(**parts, report=_listening, run_dir=run_dir, device=places[rank])
    except Left:
        pass
    except BaseException as error:
        pipe.send((_sendable(error), traceback.format_exc()))
        sys.exit(1)


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


class _group:
    """The process group of all ranks: gloo for objects and on CPUs, NCCL between GPUs."""

    def __init__(self, rank: int, places: list[str], directory: str) -> None:
        self.rank, self.places, self.directory = rank, places, directory

    def __enter__(self) -> None:
        on_cuda = self.places[0].startswith("cuda")
        if on_cuda:
            torch.cuda.set_device(self.places[self.rank])
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_cuda else "gloo",
            init_method=f"file://{self.directory}/rendezvous",
            rank=self.rank,
            world_size=len(self.places),
            timeout=PATIENCE,
        )

    def __exit__(self, *_: Any) -> None:
        distributed.destroy_process_group()


def _telling(report: Callable[..., None]) -> Callable[..., None]:
    """Rank 0's report: the others learn whether it raised."""

    def told(epoch: int, **metrics: float) -> None:
        try:
            report(epoch, **metrics)
        except BaseException:
            _broadcast("leave")
            raise
        _broadcast("go on")

    for name in ("note", "fence"):
        setattr(told, name, getattr(report, name, None))
    return told


def _listening(epoch: int, **metrics: float) -> None:
    if _broadcast(None) == "leave":
        raise Left


def _broadcast(word: str | None) -> str | None:
    """Rank 0's word, as an object over gloo: as a tensor a float64 would arrive as float32."""
    words = [word]
    distributed.broadcast_object_list(words, src=0, device=torch.device("cpu"))
    return words[0]
