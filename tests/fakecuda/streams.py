"""Streams and events that track which kernels are finished, and graphs that replay kernels."""

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from tests.fakecuda.kernels import Clock, Kernels
from tests.fakecuda.placement import each, on_device


class Stream(Clock):
    def __init__(self, kernels: Kernels, device: Any = None, **_: Any) -> None:
        super().__init__()
        self.kernels = kernels

    def wait_stream(self, other: Clock) -> None:
        self.follow(other)

    def wait_event(self, event: "Event") -> None:
        self.follow(event.reached)

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or Event(self.kernels)
        event.record(self)
        return event

    def is_capturing(self) -> bool:
        return self.kernels.recording is not None

    def synchronize(self) -> None:
        self.kernels.wait("a stream")
        self.kernels.host.follow(self)


class OnStream:
    """Context manager, as a class: an abandoned generator would restore the stream later."""

    def __init__(self, kernels: Kernels, stream: Clock | None) -> None:
        self.kernels, self.stream = kernels, stream

    def __enter__(self) -> None:
        self.before = self.kernels.stream
        self.kernels.stream = self.stream or self.before

    def __exit__(self, *error: object) -> None:
        self.kernels.stream = self.before


class Event:
    """Remembers the kernels queued on its stream when it was recorded."""

    def __init__(self, kernels: Kernels, *_: Any, **options: Any) -> None:
        self.kernels = kernels
        self.reached = Clock()

    def record(self, stream: Clock | None = None) -> None:
        self.reached = Clock()
        self.reached.follow(stream or self.kernels.stream)

    def wait(self, stream: Clock | None = None) -> None:
        (stream or self.kernels.stream).follow(self.reached)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        self.kernels.wait("an event", warns=False)
        self.kernels.host.follow(self.reached)


class Recording:
    """The kernels of a capture.  None has an effect before it is replayed."""

    def __init__(self, kernels: Kernels, mode: str) -> None:
        self.kernels = kernels
        self.everywhere, self.thread = mode == "global", threading.get_ident()
        self.spoiled = False
        self.calls: list[tuple[Any, Any, Any, dict[int, Tensor]]] = []
        self.found: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage | None, Any]] = {}
        self.random = kernels.random

    def concerns(self) -> bool:
        """Return whether a synchronisation of this thread invalidates the capture."""
        return self.everywhere or self.thread == threading.get_ident()

    def keep(self, tensors: Sequence[Tensor]) -> None:
        """Save the values of a kernel's arguments from before the capture, before it runs."""
        for storage in (tensor.untyped_storage() for tensor in tensors if on_device(tensor)):
            if id(storage) not in self.found:
                written = getattr(storage, "written", None)
                self.found[id(storage)] = (storage, storage.clone(), written)

    def note(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        """Record a kernel, to be replayed into the same memory; called after it.

        Values on the host are frozen, including zero-dimensional tensors.
        """
        fresh = {}
        for place, tensor in enumerate(each(made)):
            storage = tensor.untyped_storage()
            if id(storage) not in self.found:
                self.found[id(storage)] = (storage, None, None)
                fresh[place] = tensor.detach()
        if fresh or func._schema.is_mutable:
            args, kwargs = tree_map_only(Tensor, _frozen, (args, kwargs))
            self.calls.append((func, args, kwargs, fresh))

    def undo(self) -> None:
        with _disable_current_modes():
            for storage, before, written in self.found.values():
                storage.written = written
                if before is not None:
                    storage.copy_(before)
        self.found = {}
        self.kernels.random = self.random

    def replay(self) -> None:
        self.kernels.there = True  # for results without tensor arguments
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for func, args, kwargs, fresh in self.calls:
                made = each(func(*args, **kwargs))
                for place, tensor in fresh.items():
                    tensor.copy_(made[place])
        self.kernels.there = False


def _frozen(tensor: Tensor) -> Tensor:
    return tensor.detach() if on_device(tensor) else tensor.clone()


class Graph:
    def __init__(self, kernels: Kernels, **_: Any) -> None:
        self.kernels = kernels
        self.recording: Recording | None = None

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", **_: Any) -> None:
        self.kernels.recording = Recording(self.kernels, capture_error_mode)

    def capture_end(self) -> None:
        recording, self.kernels.recording = self.kernels.recording, None
        recording.undo()
        if recording.spoiled:
            raise torch.AcceleratorError("CUDA error: a previous error during capture")
        self.recording = recording

    def replay(self) -> None:
        assert self.recording is not None, "replayed before it was captured"
        self.kernels.replays += 1
        self.recording.replay()

    def reset(self) -> None:
        self.recording = None
