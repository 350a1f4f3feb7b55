"""The process group of a trial's ranks, and rank 0's decision to continue after each report."""

from collections.abc import Callable
from datetime import timedelta

import torch
from torch import distributed

from tuner.errors import Stop

# Time for which a rank waits for the others; rank 0's report may be waiting for a database.
PATIENCE = timedelta(hours=1)


class Left(Stop):
    """Rank 0 has left, so this rank leaves as well."""


def use(place: str) -> None:
    """Make a GPU the current device.

    Raises:
        RuntimeError: No context can be created on it.
    """
    if place.startswith("cuda"):
        torch.cuda.set_device(place)


def join(rank: int, places: list[str], directory: str) -> None:
    """Wait for all ranks.  gloo transfers objects and CPU tensors, NCCL GPU tensors."""
    use(places[rank])
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if places[0].startswith("cuda") else "gloo",
        init_method=f"file://{directory}/rendezvous",
        rank=rank,
        world_size=len(places),
        timeout=PATIENCE,
    )


def abort() -> None:
    """Abort NCCL operations that wait for another rank; gloo detects a lost rank itself."""
    world = distributed.group.WORLD
    if world is not None and "nccl" in distributed.get_backend_config(world):
        world._get_backend(torch.device("cuda")).abort()


def leave() -> None:
    """Leave the group; with NCCL this waits for the other ranks in pending operations."""
    distributed.destroy_process_group()


def telling(report: Callable[..., None], check: Callable[[], None]) -> Callable[..., None]:
    """Wrap the ``report`` of rank 0, to tell the other ranks whether it raised.

    ``check`` raises if another rank has failed, so that results computed since then are neither
    reported nor saved.
    """

    def told(epoch: int, **metrics: float) -> None:
        check()
        try:
            report(epoch, **metrics)
        except BaseException:
            _broadcast("leave")
            raise
        _broadcast("go on")

    def fenced() -> None:
        check()
        if hasattr(report, "fence"):
            report.fence()

    if hasattr(report, "note"):
        told.note = report.note  # type: ignore[attr-defined]
    told.fence = fenced  # type: ignore[attr-defined]
    return told


def listening(epoch: int, **metrics: float) -> None:
    """Return the ``report`` of the other ranks.

    Raises:
        Left: The report of rank 0 raised.
    """
    if _broadcast(None) == "leave":
        raise Left


def _broadcast(word: str | None) -> str | None:
    """Send a value of rank 0 to all ranks over gloo."""
    words = [word]
    distributed.broadcast_object_list(words, src=0, device=torch.device("cpu"))
    return words[0]
