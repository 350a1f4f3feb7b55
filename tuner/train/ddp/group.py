"""The process group of a trial's ranks, and the word that rank 0 gives after each report."""

from collections.abc import Callable
from datetime import timedelta

import torch
from torch import distributed

from tuner.errors import Stop

# How long a rank waits for the others: a report may wait that long for a database.
PATIENCE = timedelta(hours=1)


class Left(Stop):
    """Rank 0 left, and so does this one."""


def use(place: str) -> None:
    """Has this process work on a GPU.  Raises: RuntimeError where no context can be made on it."""
    if place.startswith("cuda"):
        torch.cuda.set_device(place)


def join(rank: int, places: list[str], directory: str) -> None:
    """Returns once all ranks are here; gloo carries objects and on CPUs all, NCCL between GPUs."""
    use(places[rank])
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if places[0].startswith("cuda") else "gloo",
        init_method=f"file://{directory}/rendezvous",
        rank=rank,
        world_size=len(places),
        timeout=PATIENCE,
    )


def abort() -> None:
    """Ends what waits on a GPU for another rank; what waits over gloo sees that one is gone."""
    world = distributed.group.WORLD
    if world is not None and "nccl" in distributed.get_backend_config(world):
        world._get_backend(torch.device("cuda")).abort()


def leave() -> None:
    """Leaves the group; on a GPU only once the others have joined in whatever this rank began."""
    distributed.destroy_process_group()


def telling(report: Callable[..., None], check: Callable[[], None]) -> Callable[..., None]:
    """Rank 0's report: the others learn whether it raised.

    ``check`` raises where a rank has failed: what this one computed since then is neither reported
    nor saved.
    """
    fence: Callable[[], None] | None = getattr(report, "fence", None)

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
        if fence is not None:
            fence()

    told.note = getattr(report, "note", None)  # type: ignore[attr-defined]
    told.fence = fenced  # type: ignore[attr-defined]
    return told


def listening(epoch: int, **metrics: float) -> None:
    """The report of all other ranks.  Raises: Left where that of rank 0 raised."""
    if _broadcast(None) == "leave":
        raise Left


def _broadcast(word: str | None) -> str | None:
    """Rank 0's word, as an object over gloo: as a tensor a float64 would arrive as float32."""
    words = [word]
    distributed.broadcast_object_list(words, src=0, device=torch.device("cpu"))
    return words[0]
