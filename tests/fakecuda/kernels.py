"""Detects, at every kernel, synchronisation with the host and what CUDA would refuse."""

import functools
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import tuner
from tests.fakecuda.placement import each, on_device, pinned, put

if TYPE_CHECKING:
    from tests.fakecuda.streams import Recording

PRODUCT = str(Path(tuner.__file__).parent)

# Kernels whose result or its shape depends on values, so that the host has to synchronise.
READING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal",
    "unique_consecutive", "bincount",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
ASKING = {"_has_compatible_shallow_copy_type", "is_same_size"}  # not about values


@dataclass(frozen=True)
class Wait:
    """A wait of the host or a race, with tuner's functions on the stack, innermost first."""

    what: str
    callers: tuple[str, ...]
    line: str


class Clock:
    """A vector clock: counts a stream's kernels, and those of others known to be finished.

    The host has one too.
    """

    def __init__(self) -> None:
        self.made = 0
        self.known: dict[Clock, int] = {}

    def knows(self, other: "Clock", number: int) -> bool:
        """Whether the other's kernel of that number finishes before the next one here."""
        return other is self or self.known.get(other, 0) >= number

    def follow(self, other: "Clock") -> None:
        """Order all kernels queued on the other, and all it knows, before the next one here."""
        for clock, number in (*other.known.items(), (other, other.made)):
            self.known[clock] = max(number, self.known.get(clock, 0))


class Kernels(TorchDispatchMode):
    """Intercepts every kernel that is launched on the device or run on the host.

    ``waits`` lists synchronisations of the host.  ``races`` lists reads on a stream, or by the
    host, that are not ordered after the write on another stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Wait] = []
        self.races: list[Wait] = []
        self.replays = 0
        self.stream, self.host = Clock(), Clock()
        """The clocks of the current stream and of the host."""
        self.behind = True
        """Whether the current kernel is asynchronous."""
        self.there = False
        """Whether a kernel without tensor arguments creates its result on the device."""
        self.recording: Recording | None = None
        self.on_wait: int | str = "default"
        self.random = torch.random.default_generator.get_state()
        """State of the device's default generator."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [tensor for tensor in each(args, *kwargs.values()) if not tensor.is_meta]
        if not (any(map(on_device, given)) if given else self.there):
            self._ordered(given, self.host)
            return func(*args, **kwargs)
        self.behind = True
        self._check(func, args, kwargs, given)
        self._ordered(given, self.stream)
        if self.recording is not None:
            self.recording.keep(given)
        made = self._run(func, args, kwargs)
        held = {id(tensor.untyped_storage()) for tensor in given}
        new = [tensor for tensor in each(made) if id(tensor.untyped_storage()) not in held]
        put(new, there=True)
        self.wrote(new, _changed(func, args, kwargs))
        if not self.behind:
            self.host.follow(self.stream)
        if self.recording is not None:
            self.recording.note(func, args, kwargs, made)
        return made

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a kernel; its random numbers come from the device's default generator."""
        if not _random(func) or any(
            isinstance(value, torch._C.Generator) for value in (*args, *kwargs.values())
        ):
            return func(*args, **kwargs)
        generator = torch.random.default_generator
        before = generator.get_state()
        generator.set_state(self.random)
        try:
            return func(*args, **kwargs)
        finally:
            self.random = generator.get_state()
            generator.set_state(before)

    def _check(self, func: Any, args: Any, kwargs: Any, given: Sequence[Tensor]) -> None:
        """Record synchronisations.

        Raises:
            RuntimeError: Tensors are on different devices.
        """
        name = func.overloadpacket.__name__
        if name == "copy_":
            target, source, *rest = args
            if on_device(target) != on_device(source):
                background = rest[0] if rest else kwargs.get("non_blocking", False)
                self.crossing(source, target, background=background)
        elif name in READING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self.reading(name, given[0])
        elif name in INDEXING and on_device(args[0]):
            filling = len(args) > 2 and not on_device(args[2]) and args[2].numel() == 1
            for index in each(args[1]):
                if index.dtype in (torch.bool, torch.uint8) and not filling:
                    self.reading("a boolean mask", index)
                elif not on_device(index):
                    self.wait("an index on the host")
        elif name not in ASKING:
            strangers = [tensor for tensor in given if not on_device(tensor)]
            if any(tensor.dim() for tensor in strangers) or (strangers and not _pointwise(func)):
                raise RuntimeError(f"{func}: expected all tensors to be on the same device")

    def crossing(self, source: Tensor, target: Tensor | None, *, background: bool) -> None:
        """Record a copy between host and device; without ``target`` it goes to pinned memory."""
        leaves = on_device(source)
        host = target if leaves else source
        if not background:
            self.reading("a copy from the device" if leaves else "a copy to the device", source)
        elif host is not None and not pinned(host):
            self.wait("a copy to or from pageable memory")

    def reading(self, what: str, tensor: Tensor) -> None:
        """Record that the host waits for all work queued on the current stream."""
        self._ordered([tensor], self.stream)
        self.wait(what)
        self.host.follow(self.stream)
        self.behind = False

    def wait(self, what: str, *, warns: bool = True) -> None:
        """Record a synchronisation of the host.

        Args:
            warns: Whether torch.cuda.set_sync_debug_mode reports it.

        Raises:
            AcceleratorError: A capture is in progress, in which CUDA refuses to synchronise.
        """
        if self.recording is not None and self.recording.concerns():
            self.recording.spoiled = True
            raise torch.AcceleratorError("CUDA error: operation not permitted when capturing")
        self.waits.append(Wait(what, *_callers()))
        if warns and self.on_wait in (1, "warn"):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        elif warns and self.on_wait in (2, "error"):
            raise RuntimeError("called a synchronizing CUDA operation")

    def wrote(self, *tensors: Any) -> None:
        """Record that one more kernel of the current stream writes to these tensors."""
        self.stream.made += 1
        for tensor in each(*tensors):
            tensor.untyped_storage().written = self.stream, self.stream.made

    def _ordered(self, tensors: Sequence[Tensor], reader: Clock) -> None:
        for tensor in tensors:
            written = getattr(tensor.untyped_storage(), "written", None)
            if written is not None and not reader.knows(*written):
                self.races.append(Wait("another stream may still be writing", *_callers()))


@functools.cache
def _random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


@functools.cache
def _pointwise(func: Any) -> bool:
    """Return whether a kernel accepts a zero-dimensional tensor on the host as a number."""
    return torch.Tag.pointwise in func.tags or func.overloadpacket.__name__.startswith("_foreach")


def _changed(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return the arguments to which a kernel writes."""
    places = _written(func)
    return [args[place] if place < len(args) else kwargs[name] for place, name in places]


@functools.cache
def _written(func: Any) -> list[tuple[int, str]]:
    return [
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _callers() -> tuple[tuple[str, ...], str]:
    """Return tuner's functions on the stack, innermost first, and the innermost line."""
    found, line, frame = [], "", sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PRODUCT):
            line = line or f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return tuple(found), line
