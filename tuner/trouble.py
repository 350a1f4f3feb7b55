"""What an objective may raise, sorted: impossible, out of memory, a broken device."""

import gc
import sys

from tuner.errors import Infeasible


def infeasible(error: BaseException) -> str | None:
    """Why the configuration cannot work, or None if ``error`` is an ordinary failure."""
    if isinstance(error, Infeasible):
        return str(error) or type(error).__name__
    if is_out_of_memory(error):
        return f"out of memory: {(str(error) or type(error).__name__).splitlines()[0]}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's and PyTorch's CPU allocator's ways of saying so."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def is_broken_device(error: BaseException) -> bool:
    """Whether the accelerator's context is lost, so that only a new process can go on."""
    return type(error).__name__ in ("AcceleratorError", "AcceleratorDeviceError")


def free_memory() -> None:
    """Return what a failed trial held; torch only if the objective has loaded it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
