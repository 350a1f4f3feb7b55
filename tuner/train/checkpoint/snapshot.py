"""An immutable copy of a nested state, in a few flat pieces of main memory.

A network and its optimiser have some hundred small tensors. Copying and writing them one by one
would be dominated by the overhead per call; therefore all tensors of one kind are copied into one
piece on their device, which is transferred to main memory asynchronously.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Kind = tuple[torch.device, torch.dtype]
# Replaces a tensor: this mark, its piece, and its offset, shape and strides.
MARK = "tensor in piece"


@dataclass(frozen=True)
class Snapshot:
    """A copied state: ``tree`` with marks for tensors, and the ``pieces`` that hold them."""

    tree: Any
    pieces: list[Tensor]
    events: list[torch.cuda.Event]

    def wait(self) -> None:
        for event in self.events:
            event.synchronize()


def take(state: Mapping[str, Any]) -> Snapshot:
    """Copy the current state; on a GPU, the state after the kernels that are queued so far."""
    parts: dict[Kind, list[Tensor]] = {}
    tree = _marked(state, parts, {})
    pieces = [torch.cat(tensors) for tensors in parts.values()]
    events = []
    for number, piece in enumerate(pieces):
        if piece.is_cuda:
            host = torch.empty_like(piece, device="cpu", pin_memory=True)
            pieces[number] = host.copy_(piece, non_blocking=True)
            # Otherwise the waiting thread occupies a CPU core.
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(piece.device))
            events.append(event)
    return Snapshot(tree, pieces, events)


def restore(tree: Any, pieces: list[Tensor]) -> Any:
    """Return the state; its tensors are views of the pieces, with their original strides."""
    match tree:
        case dict():
            return {key: restore(value, pieces) for key, value in tree.items()}
        case (mark, piece, start, shape, strides) if mark == MARK:
            return pieces[piece].as_strided(shape, strides, start)
        case list() | tuple():
            return type(tree)(restore(value, pieces) for value in tree)
    return tree


def _marked(part: Any, parts: dict[Kind, list[Tensor]], ends: dict[Kind, int]) -> Any:
    """Return ``part`` with marks instead of tensors, whose elements are added to ``parts``."""
    match part:
        case Tensor():
            dense = part.detach()
            # Convolutions keep their strides: a fused optimiser walks weights, gradients and
            # moments in the order of memory.
            if not (dense.ndim == 4 and dense.is_contiguous(memory_format=torch.channels_last)):
                dense = dense.contiguous()
            kind = (dense.device, dense.dtype)
            start = ends.get(kind, 0)
            ends[kind] = start + dense.numel()
            parts.setdefault(kind, []).append(dense.as_strided((dense.numel(),), (1,)))
            piece = list(parts).index(kind)
            return (MARK, piece, start, tuple(dense.shape), dense.stride())
        case dict():
            return {key: _marked(value, parts, ends) for key, value in part.items()}
        case list() | tuple():
            return type(part)(_marked(value, parts, ends) for value in part)
    return part
