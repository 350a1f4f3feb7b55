"""The device of a run, and the precision of its computations."""

import ctypes
import functools
import hashlib
import math
import os
import random
import resource
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tuner.environment import MEMORY_FRACTION
from tuner.errors import ConfigError

Precision = Literal["auto", "bf16", "tf32", "fp32"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def choose(name: str | None) -> torch.device:
    """Return the device pinned by the launcher, else this machine's accelerator, else the CPU.

    A CUDA device always has an index, because ``torch.cuda.set_device`` requires one.

    Raises:
        ConfigError: The name is not a device.
    """
    if name is None:
        # Without this check, a CUDA build returns cuda even if there is no GPU.
        found = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    else:
        try:
            found = torch.device(name)
        except RuntimeError as error:
            raise ConfigError(
                f"{name!r} is not a device",
                key="worker.device",
                hint="use cuda:0, cpu, or null for the best available",
            ) from error
    return torch.device("cuda", found.index or 0) if found.type == "cuda" else found


def configure(
    device: torch.device, *, threads: int, deterministic: bool, precision: Precision
) -> None:
    """Configure this process: ``threads`` CPU threads, TF32 or not, and cuDNN benchmarking.

    On the CPU, results are bit-identical for a given number of threads. On CUDA, ``deterministic``
    achieves this with slower kernels.
    """
    torch.set_num_threads(threads)
    if device.type != "cuda":
        _keep_memory()
        return
    # For deterministic matrix products, also in later runs: cuBLAS reads it once per process.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(device)
    torch.cuda.set_per_process_memory_fraction(_memory_share())
    rounded = actual(device, precision) == "tf32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic != torch.are_deterministic_algorithms_enabled():  # it loads the compiler
        torch.use_deterministic_algorithms(deterministic)


@functools.cache
def _keep_memory() -> None:
    """Make glibc keep freed memory; by default, it unmaps large blocks.

    Every step would then map its activations again, page by page: with a 2-layer CNN, an image of a
    batch of 128 took 496 instead of 426 µs, and 1,024 images evaluated at once took 278 instead of
    126 ms.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory(device: torch.device) -> None:
    """Return freed memory of a run on the CPU to the system.

    The next run needs 45 ms of CPU time to map it again, but its measured peak does not include
    memory of this run.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if device.type == "cpu" and trim is not None:
        trim(0)


def actual(device: torch.device, precision: Precision) -> Precision:
    """Return the precision in which a device computes, given the setting: bf16, tf32 or fp32.

    ``auto`` is bf16 if the device supports it natively; emulated, on a CPU, it is six times slower.
    """
    if precision == "bf16":
        return "bf16"
    if precision == "fp32" or not _ampere(device):
        return "fp32"
    return "bf16" if precision == "auto" else "tf32"


@functools.cache
def _ampere(device: torch.device) -> bool:
    """Return whether the GPU supports bf16 and TF32; both came with the Ampere architecture."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Enable bf16 autocast in the block; do nothing in other precisions."""
    halved = actual(device, precision) == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16) if halved else nullcontext()


def reseed(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Seed every random stream from (seed, epoch); epoch 0 is the initialisation.

    A run can therefore be resumed bit-identically without saving the state of any generator.

    Returns:
        A generator on the device, for the order of the images and their augmentation.
    """
    digest = hashlib.blake2b(f"{seed} {epoch}".encode(), digest_size=4).digest()
    stream = int.from_bytes(digest, "big")
    random.seed(stream)
    np.random.seed(stream)
    torch.default_generator.manual_seed(stream)  # dropout
    if device.type != "cpu":
        torch.manual_seed(stream)  # all accelerators; takes 0.1 ms or more if there is none
    return torch.Generator(device).manual_seed(stream + 1)


def host_generator(generator: torch.Generator) -> torch.Generator:
    """Return the generator if it is on the CPU, else a new one on the CPU with the same seed."""
    if generator.device.type == "cpu":
        return generator
    return torch.Generator().manual_seed(generator.initial_seed())


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a CPU tensor to the device; to a GPU asynchronously, from pinned memory."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a new stream of a GPU; None for other devices."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def generators(device: torch.device) -> dict[str, Any]:
    """Return the states of every random stream of ``reseed``, as tensors and plain values."""
    version, words, gauss = random.getstate()
    numbers: Any = np.random.get_state(legacy=False)
    states = {
        "python": (version, torch.tensor(words), gauss),
        "numpy": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
        "numpy place": (numbers["state"]["pos"], numbers["has_gauss"], numbers["gauss"]),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: Mapping[str, Any], device: torch.device) -> None:
    """Restore every stream; those of other kinds of devices are unchanged."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(("MT19937", states["numpy"].numpy(), *states["numpy place"]))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def free_bytes(device: torch.device) -> float:
    """Return the memory that this process can still take on a device; infinite on a CPU."""
    if device.type != "cuda":
        return math.inf
    reserved = torch.cuda.memory_reserved(device)
    free, total = torch.cuda.mem_get_info(device)
    left = _memory_share() * total - reserved  # the rest of this process's share
    return min(free, left) + reserved - torch.cuda.memory_allocated(device)


def _memory_share() -> float:
    """Return the share of the device's memory that the launcher gave to this worker."""
    return float(os.environ.get(MEMORY_FRACTION, "1"))


def watch_memory(device: torch.device) -> None:
    """Reset the peak that ``peak_bytes`` returns."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # outside of Linux, the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory since ``watch_memory``: tensors on a GPU, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_taken(device: torch.device) -> dict[str, int]:
    """Return the run's ``peak_memory_mb``, and on a GPU the process's ``reserved_memory_mb``.

    Reserved memory is not available to other processes. It includes tensors, CUDA graphs, and
    memory that torch has cached, also in earlier runs.
    """
    taken = {"peak_memory_mb": peak_bytes(device)}
    if device.type == "cuda":
        taken["reserved_memory_mb"] = torch.cuda.max_memory_reserved(device)
    return {name: round(count / 1e6) for name, count in taken.items()}


def name(device: torch.device) -> str:
    """Return the name of a device, such as ``cuda:0 NVIDIA H100 80GB HBM3``."""
    return (
        f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else f"{device}"
    )
