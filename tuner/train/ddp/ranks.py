"""Train a trial on several devices, with one process for each; this process is rank 0."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

import tuner.train.ddp.group as group
from tuner.errors import ConfigError, Mistake, Stop
from tuner.train.ddp.processes import Others
from tuner.train.device import hardware
from tuner.train.settings import Settings

Train = TypeVar("Train", bound=Callable[..., float])


def ranks(train: Train) -> Train:
    """Decorate ``train`` to run in ``trainer.devices`` processes if that is above 1.

    Raises:
        Exception: Raised by ``train`` in any of them, with the traceback from there.
        ConfigError: There are too few devices, or a batch cannot be divided.
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
        with (
            tempfile.TemporaryDirectory() as directory,
            Others(Path(directory), places) as others,
        ):
            others.start(spread, given, run_dir)
            with _first(others):
                told = group.telling(report, others.check)
                return train(**given, report=told, run_dir=run_dir, device=places[0])

    return spread  # type: ignore[return-value]


def _places(trainer: Settings, device: str | None) -> list[str]:
    """Return the device of each rank: the trial's own, and those after it."""
    count, first = trainer.devices, hardware.choose(device)
    mistakes = trainer.mistakes()
    start = first.index or 0
    if first.type != "cpu" and start + count > torch.accelerator.device_count():
        told = f"{count} from {first} on, but this machine has {torch.accelerator.device_count()}"
        mistakes.append(Mistake("trainer.devices", told, "use fewer, or another worker.device"))
    if mistakes:
        raise ConfigError(mistakes)
    if first.type == "cpu":
        return ["cpu"] * count
    return [f"{first.type}:{start + rank}" for rank in range(count)]


@contextmanager
def _first(others: Others) -> Iterator[None]:
    """Join the group as rank 0 in the block, and leave it.

    Raises:
        Exception: The exception of the rank that failed first, instead of rank 0's resulting one.
    """
    group.join(0, others.places, str(others.directory))
    others.watch()
    try:
        yield
    except Stop:
        raise  # the other ranks were told
    except BaseException as error:
        others.raise_failure(error)
        group.abort()  # the others do not join the pending operations
        raise
    finally:
        group.leave()
