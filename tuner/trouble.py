"""What an objective may raise, sorted: impossible, out of memory, a broken device."""

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tuner.errors import Infeasible
from tuner.log import log

NO_MEMORY = ("out of memory", "can't allocate memory", "alloc failed")
"""What PyTorch's RuntimeErrors say: CUDA's and NCCL's, the CPU allocator's, and those of cuBLAS,
cuDNN and their kin (``CUBLAS_STATUS_ALLOC_FAILED``), which allocate beside PyTorch."""


def infeasible(error: BaseException) -> str | None:
    """Why the configuration cannot work, or None if ``error`` is an ordinary failure."""
    if isinstance(error, Infeasible):
        return str(error) or type(error).__name__
    if is_out_of_memory(error):
        return f"out of memory: {(str(error) or type(error).__name__).splitlines()[0]}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's and PyTorch's CPU allocator's ways of saying so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower().replace("_", " ")
    return isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY)


def is_broken_device(error: BaseException) -> bool:
    """Whether the accelerator's context is lost, so that only a new process can go on.

    What breaks it raises an AcceleratorError; cuBLAS and cuDNN then fail with plain errors of their
    own.  So the device is asked as well: on a lost context every call fails.
    """
    if is_out_of_memory(error):
        return False
    return type(error).__name__ in ("AcceleratorError", "AcceleratorDeviceError") or _is_lost()


def _is_lost() -> bool:
    if (cuda := _cuda()) is None:
        return False
    try:
        # Of this thread alone: the whole device must not be waited for while another one captures.
        cuda.current_stream().synchronize()
    except RuntimeError:
        return True
    return False


def _cuda() -> Any:
    """``torch.cuda`` once an objective has put a GPU to use, else None."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


@contextmanager
def memory_returned(*, shared: bool) -> Iterator[None]:
    """Give back what an objective held as soon as it ends, if that was too much or a GPU is shared.

    PyTorch would keep what a process has ever reserved of a GPU, and an error the tensors in the
    frames that it went through.  Data sets that later trials need again stay.
    """
    before = _held()
    try:
        yield
    except BaseException as error:
        if is_out_of_memory(error):
            clear_frames(error)
            free_memory()
        elif shared and _cuda() is not None:
            clear_frames(error)
            free_memory(known=before)
        raise
    if shared and _cuda() is not None:
        free_memory(known=before)


def _held() -> int:
    """Bytes of the GPU that tensors take."""
    return 0 if (cuda := _cuda()) is None else int(cuda.memory_allocated())


def clear_frames(error: BaseException) -> None:
    """Drop the local variables of all frames of an error, and of those that it came from.

    Its traceback can still be printed.
    """
    errors, seen = [error], set[int]()
    while errors:
        error = errors.pop()
        if id(error) not in seen:
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)
            errors += [e for e in (error.__cause__, error.__context__) if e is not None]


def free_memory(*, known: int = -1) -> None:
    """Return to the system what no object uses any more; GPUs only if one is in use.

    Objects that refer to each other are looked for, which takes 0.2 s, unless no more than the
    ``known`` bytes of a GPU are held.
    """
    cuda = _cuda()
    if cuda is None or _held() > known:
        gc.collect()
    if cuda is None:
        return
    try:
        cuda.empty_cache()
    except RuntimeError as error:  # such as while another thread captures a CUDA graph
        log.info("the GPU's memory is kept: %s", str(error).partition("\n")[0])
