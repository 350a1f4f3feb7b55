"""A CUDA device that is not there: whole trainings on it, on the CPU, with real values.

What torch.cuda offers is stood in for.  ``placement`` knows which tensors lie on the device,
``kernels`` where the host would wait for it, ``streams`` what is known to be done; a graph replays
the kernels that were recorded, so that what a step takes from the host is frozen as it is on a GPU.

Not seen: which kernels CUDA has, their speed and their rounding, and how much memory they take.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fakecuda.kernels import Clock, Kernels
from tests.fakecuda.placement import DEVICE, Placement, device_of
from tests.fakecuda.streams import Event, Graph, OnStream, Stream
from tuner.train import archive, data, hardware

WRITTEN_FOR = ("2.14.",)
"""Versions of torch whose private parts this knows: those that begin with _ in ``stand_ins``."""

needed = pytest.mark.skipif(
    not torch.__version__.startswith(WRITTEN_FOR),
    reason=f"the stand-in for a CUDA device was written for torch {' and '.join(WRITTEN_FOR)}x",
)
MEMORY = 1 << 34


class Generator(torch.Generator):
    """One that says it is the device's, and gives what the host's gives of the same seed."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        return super().__new__(cls, "cpu")

    def __init__(self, device: Any = "cpu") -> None:
        self.place = torch.device(device)

    @property
    def device(self) -> torch.device:
        return DEVICE if self.place.type == "cuda" else self.place


def _grouped(lists: Sequence[Sequence[Tensor | None]], with_indices: bool = False) -> Any:
    """As torch._C groups the tensors of optimisers, which does not ask Python for the device."""
    groups: dict[Any, tuple[list[list[Tensor | None]], list[int]]] = {}
    for number, tensor in enumerate(lists[0]):
        key = device_of(tensor), tensor.dtype
        members, numbers = groups.setdefault(key, ([[] for _ in lists], []))
        for member, given in zip(members, lists, strict=True):
            member += given[number : number + 1]
        numbers += [number] * with_indices
    return groups


def _synchronize(kernels: Kernels, streams: Sequence[Clock]) -> None:
    kernels.wait("the device", warns=False)
    for stream in (kernels.host, *streams):
        for other in streams:
            stream.follow(other)


def stand_ins(kernels: Kernels) -> dict[str, Any]:
    """By dotted name in torch.  Memory is never short."""
    streams = [kernels.stream]

    def stream(*args: Any, **options: Any) -> Stream:
        streams.append(Stream(kernels, *args, **options))
        return streams[-1]

    def seed(number: int) -> None:
        kernels.random = torch._C.Generator().manual_seed(number).get_state()

    def nothing(*_: Any, **__: Any) -> None:
        pass

    return {
        "Generator": Generator,
        "autocast": functools.partial(_autocast, torch.autocast),
        "accelerator.current_accelerator": lambda **_: torch.device("cuda"),
        "accelerator.current_stream": lambda *_: kernels.stream,
        "cuda.is_available": lambda: True,
        "cuda.device_count": lambda: 1,
        "cuda.current_device": lambda: 0,
        "cuda.get_device_name": lambda *_: "stand-in",
        "cuda.is_bf16_supported": lambda **_: True,
        "cuda.Stream": stream,
        "cuda.Event": functools.partial(Event, kernels),
        "cuda.CUDAGraph": functools.partial(Graph, kernels),
        "cuda.stream": functools.partial(OnStream, kernels),
        "cuda.current_stream": lambda *_: kernels.stream,
        "cuda.synchronize": lambda *_: _synchronize(kernels, streams),
        "cuda.is_current_stream_capturing": lambda: kernels.recording is not None,
        "cuda.get_sync_debug_mode": lambda: kernels.on_wait,
        "cuda.set_sync_debug_mode": functools.partial(setattr, kernels, "on_wait"),
        "cuda.manual_seed_all": seed,
        "cuda.get_rng_state": lambda *_: kernels.random.clone(),
        "cuda.set_rng_state": lambda state, *_: setattr(kernels, "random", state.clone()),
        "cuda.graph_pool_handle": lambda: (0, 1),
        "cuda.empty_cache": nothing,
        "cuda.set_per_process_memory_fraction": nothing,
        "cuda.reset_peak_memory_stats": nothing,
        "cuda.mem_get_info": lambda *_: (MEMORY, MEMORY),
        "cuda.memory_reserved": lambda *_: 0,
        "cuda.memory_allocated": lambda *_: 0,
        "cuda.max_memory_allocated": lambda *_: 0,
        "cuda.max_memory_reserved": lambda *_: 0,
        "cuda._graph_annotations.maybe_stamp_capture_root": nothing,
        "Tensor.record_stream": nothing,
        "_C._cuda_setDevice": nothing,
        "_C._host_emptyCache": nothing,
        "_C._group_tensors_by_device_and_dtype": _grouped,
    }


def _autocast(autocast: Any, kind: str, **options: Any) -> Any:
    """The kernels are the CPU's, and so is what they do in half precision."""
    return autocast("cpu" if kind == "cuda" else kind, **options)


@contextmanager
def fake_cuda() -> Iterator[Kernels]:
    """Within, torch has one CUDA device, for this thread; what it sees is in what is returned."""
    kernels = Kernels()
    kernels.stream = Stream(kernels)
    with pytest.MonkeyPatch.context() as patch, _settings(patch):
        for name, stand_in in stand_ins(kernels).items():
            patch.setattr(f"torch.{name}", stand_in, raising=False)
        with entered(kernels):
            yield kernels


@contextmanager
def _settings(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves what the trainer sets up, and keeps of a device for later runs, as it was."""
    patch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    for name in ("benchmark", "allow_tf32"):
        patch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    precision = torch.get_float32_matmul_precision()
    _forget()
    try:
        yield
    finally:
        _forget()
        torch.set_float32_matmul_precision(precision)
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(False)


def _forget() -> None:
    for module in (data, archive, hardware):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextmanager
def entered(kernels: Kernels) -> Iterator[None]:
    """Within, the device is there for one more thread."""
    with Placement(kernels), kernels:
        yield


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Within, the CPU draws the order of the images apart from their augmentation, as a GPU does.

    There the two come from generators of different devices.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "host_generator", _anew)
        yield


def _anew(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(generator.initial_seed())
