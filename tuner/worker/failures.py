"""Distinguish out-of-memory errors from a broken device, and release an objective's memory."""

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tuner.log import log

NO_MEMORY = ("out of memory", "can't allocate memory", "alloc failed")
"""Texts in RuntimeErrors of CUDA, NCCL and the CPU allocator, and of cuBLAS, cuDNN and others
(``CUBLAS_STATUS_ALLOC_FAILED``), which bypass PyTorch's allocator."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, CUDA, one of its libraries or the CPU allocator ran out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower().replace("_", " ")
    return isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY)


def is_broken_device(error: BaseException) -> bool:
    """Return whether the accelerator's context is lost, so that only a new process can continue.

    The first failure raises an AcceleratorError, but cuBLAS and cuDNN then fail with RuntimeErrors.
    Therefore, the device is synchronised as well: on a lost context, every call fails.
    """
    if is_out_of_memory(error):
        return False
    return type(error).__name__ in ("AcceleratorError", "AcceleratorDeviceError") or _is_lost()


def _is_lost() -> bool:
    if (cuda := _cuda()) is None:
        return False
    try:
        # Only this stream: the device must not be synchronised while another thread captures.
        cuda.current_stream().synchronize()
    except RuntimeError:
        return True
    return False


def _cuda() -> Any:
    """Return ``torch.cuda`` if the process has initialised CUDA, else None."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


@contextmanager
def memory_returned(*, shared: bool) -> Iterator[None]:
    """Free an objective's memory after the block if it ran out, or if a GPU is ``shared``.

    Otherwise, PyTorch keeps all memory that the process has reserved on a GPU, and an exception
    keeps the tensors in its frames. Cached data sets, which later trials use, are kept.
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
    """Return the number of bytes allocated on the GPU."""
    return 0 if (cuda := _cuda()) is None else int(cuda.memory_allocated())


def clear_frames(error: BaseException) -> None:
    """Clear the local variables in all frames of an exception, its cause and its context.

    The traceback can still be printed.
    """
    errors, seen = [error], set[int]()
    while errors:
        error = errors.pop()
        if id(error) not in seen:
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)
            errors += [e for e in (error.__cause__, error.__context__) if e is not None]


def free_memory(*, known: int = -1) -> None:
    """Collect garbage and return unused GPU memory to the driver.

    The collection takes 0.2 s and is skipped if at most ``known`` bytes of a GPU are allocated.
    """
    cuda = _cuda()
    if cuda is None or _held() > known:
        gc.collect()
    if cuda is None:
        return
    try:
        cuda.empty_cache()
    except RuntimeError as error:  # for example during another thread's capture
        log.info("the GPU's memory is kept: %s", str(error).partition("\n")[0])
