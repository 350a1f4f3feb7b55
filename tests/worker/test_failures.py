"""Out-of-memory errors differ from a broken device, and release the objective's memory."""

import traceback
import weakref
from types import SimpleNamespace

import pytest
import torch

from tuner.errors import Diverged, Infeasible
from tuner.storage.reason_kind import Kind
from tuner.study.attempts import Reason
from tuner.worker import failures, outcome

BROKEN = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


class Gpu:
    """Stands in for ``torch.cuda`` where a GPU is in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.emptied = 0
        self.held = 1000
        self.error: Exception | None = None
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: self.held)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty)
        stream = SimpleNamespace(synchronize=self.call)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)

    def call(self) -> None:
        if self.error is not None:
            raise self.error

    def empty(self) -> None:
        self.call()
        self.emptied += 1


@pytest.fixture
def gpu(monkeypatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
        torch.distributed.DistBackendError(
            "NCCL error: unhandled cuda error, Last error: Cuda failure 2 'out of memory'"
        ),
    ],
    ids=lambda error: str(error)[:24] or "MemoryError",
)
def test_a_lack_of_memory_is_the_configurations_and_breaks_no_device(error):
    text = f"out of memory: {str(error) or 'MemoryError'}"
    assert outcome.infeasible(error) == Reason(Kind.OUT_OF_MEMORY, text)
    assert not failures.is_broken_device(error)


@pytest.mark.parametrize(
    "error", [BROKEN, RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED"), ValueError("out of memory")]
)
def test_what_is_no_lack_of_memory(error):
    assert outcome.infeasible(error) is None
    assert failures.is_broken_device(error) == (error is BROKEN)


def test_a_lost_context_is_seen_whatever_the_error_that_tells_of_it(gpu):
    plain = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    assert not failures.is_broken_device(plain), "the device still answers"
    gpu.error = BROKEN
    assert failures.is_broken_device(plain)
    assert failures.is_broken_device(ValueError("what the objective made of it"))
    assert failures.is_broken_device(Diverged("the loss is NaN"))


def test_a_gpu_that_nobody_uses_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: pytest.fail("it would be set up"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("it would be set up"))
    assert not failures.is_broken_device(RuntimeError("a mistake"))
    failures.free_memory()


def test_memory_that_cannot_be_returned_now_is_no_failure(gpu, caplog):
    """PyTorch empties no cache while another thread captures a graph."""
    gpu.error = RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED\nat CUDACaching…")
    with caplog.at_level("INFO", "tuner"):
        failures.free_memory()
    assert caplog.messages == [
        "the GPU's memory is kept: captures_underway.empty() INTERNAL ASSERT FAILED"
    ]


class Tensor:
    """Something in a local variable that must not outlive it."""


def failing(held: list[weakref.ref], error: Exception, depth: int = 3) -> None:
    """Raise ``error`` from a chain of others, each with an object in its frame."""
    tensor = Tensor()
    held.append(weakref.ref(tensor))
    if depth == 0:
        raise ValueError("the first")
    try:
        failing(held, error, depth - 1)
    except Exception as before:
        if depth == 1:
            raise error from before
        raise RuntimeError(f"while at {depth}")  # noqa: B904 - the context is what is tested


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("none left"), KeyError("other")])
def test_the_frames_of_a_whole_chain_of_errors_are_let_go(error):
    held: list[weakref.ref] = []
    with pytest.raises(RuntimeError) as caught:
        failing(held, error)
    assert all(ref() is not None for ref in held)
    before = "".join(traceback.format_exception(caught.value))
    failures.clear_frames(caught.value)
    assert [ref() for ref in held] == [None] * 4
    assert "".join(traceback.format_exception(caught.value)) == before


def test_a_chain_that_leads_back_to_its_start_ends():
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    failures.clear_frames(first)


@pytest.mark.parametrize(
    ("error", "shared", "emptied"),
    [
        (None, True, 1),
        (ValueError("a mistake"), True, 1),
        (Infeasible("too deep"), True, 1),
        (torch.OutOfMemoryError("none left"), True, 1),
        (torch.OutOfMemoryError("none left"), False, 1),
        (ValueError("a mistake"), False, 0),
        (None, False, 0),
    ],
)
def test_memory_is_returned_to_others_and_after_a_lack_of_it(gpu, error, shared, emptied):
    held: list[weakref.ref] = []

    def objective() -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        if error is not None:
            raise error

    def returning() -> None:
        with failures.memory_returned(shared=shared):
            objective()

    if error is None:
        returning()
    else:
        with pytest.raises(type(error)) as caught:
            returning()
        assert (held[0]() is None) == bool(emptied)
        assert caught.value is error
    assert gpu.emptied == emptied


@pytest.mark.parametrize(("more", "collected"), [(0, 0), (1, 1)])
def test_objects_in_cycles_are_looked_for_only_where_tensors_are_left(
    gpu, monkeypatch, more, collected
):
    """That takes 0.2 s, as much as a small trial, and the built-in trainer leaves none."""
    calls: list[int] = []
    monkeypatch.setattr(failures.gc, "collect", lambda: calls.append(1))
    with failures.memory_returned(shared=True):
        gpu.held += more
    assert (len(calls), gpu.emptied) == (collected, 1)
