"""A fake CUDA device on which the trainer runs without a GPU; the CPU computes real values.

It replaces torch.cuda.  ``placement`` tracks which tensors are on the device, ``kernels`` detects
synchronisation with the host, and ``streams`` detects races between streams.  A graph replays the
kernels that were captured, so that values which a step takes from the host are frozen as on a GPU.

It does not model which kernels CUDA has, their speed, their rounding or their memory use.
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
from tuner.train.data import dataset, npz
from tuner.train.device import hardware

WRITTEN_FOR = ("2.14.",)
"""Versions of torch whose private functions ``stand_ins`` replaces (names that begin with _)."""

needed = pytest.mark.skipif(
    not torch.__version__.startswith(WRITTEN_FOR),
    reason=f"the stand-in for a CUDA device was written for torch {' and '.join(WRITTEN_FOR)}x",
)
MEMORY = 1 << 34


class Generator(torch.Generator):
    """A generator that reports the fake device, and draws as a CPU generator of the same seed."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        return super().__new__(cls, "cpu")

    def __init__(self, device: Any = "cpu") -> None:
        self.place = torch.device(device)

    @property
    def device(self) -> torch.device:
        return DEVICE if self.place.type == "cuda" else self.place


def _grouped(lists: Sequence[Sequence[Tensor | None]], with_indices: bool = False) -> Any:
    """Group an optimiser's tensors by device and dtype; torch._C would bypass the fake device."""
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
    """The replacements by their dotted name in torch.  Memory never runs out."""
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
    """Autocast for the CPU, which runs the kernels."""
    return autocast("cpu" if kind == "cuda" else kind, **options)


@contextmanager
def fake_cuda() -> Iterator[Kernels]:
    """Context manager: this thread has one fake CUDA device; yields what it detects."""
    kernels = Kernels()
    kernels.stream = Stream(kernels)
    with pytest.MonkeyPatch.context() as patch, _settings(patch):
        for name, stand_in in stand_ins(kernels).items():
            patch.setattr(f"torch.{name}", stand_in, raising=False)
        with entered(kernels):
            yield kernels


@contextmanager
def _settings(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Context manager that restores the trainer's global settings and clears its caches."""
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
    for module in (dataset, npz, hardware):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextmanager
def entered(kernels: Kernels) -> Iterator[None]:
    """Context manager: one more thread has the device."""
    with Placement(kernels), kernels:
        yield


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Context manager: the CPU draws the order of images and their augmentation as a GPU does.

    On a GPU the two come from generators of different devices.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "host_generator", _anew)
        yield


def _anew(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(generator.initial_seed())
