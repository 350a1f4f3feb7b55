import os
import random
import resource
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.recipes import CPU
from tuner.errors import ConfigError
from tuner.train.checkpoint import checkpoint
from tuner.train.device import hardware


def streams(seed: int, epoch: int) -> tuple[float, ...]:
    generator = hardware.reseed(seed, epoch, CPU)
    own = torch.rand(1, generator=generator).item()
    return random.random(), np.random.rand(), torch.rand(1).item(), own


def test_every_stream_starts_from_seed_and_epoch():
    first = streams(1, 2)
    assert first == streams(1, 2)
    others = [streams(1, 3), streams(2, 2), streams(12, 0), streams(1, 20), streams(-1, 2)]
    for other in others:
        assert all(a != b for a, b in zip(first, other, strict=True))
    assert len(set(first)) == 4, "the order of the images must not follow dropout"


def test_the_device_is_the_one_that_was_pinned_or_one_that_exists():
    assert hardware.choose("cpu") == CPU
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert hardware.choose(None).type == expected
    with pytest.raises(ConfigError, match=r"'gpu' is not a device; hint: use cuda:0"):
        hardware.choose("gpu")


@pytest.fixture
def gpu(monkeypatch) -> torch.device:
    """A GPU that is set up by torch's own functions, down to those that touch the driver."""
    before = (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", lambda index: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda fraction: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    hardware._ampere.cache_clear()
    yield hardware.choose(None)
    hardware._ampere.cache_clear()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before[1:]


def set_up(device: torch.device, precision: str, *, deterministic: bool = False) -> None:
    hardware.configure(device, threads=1, deterministic=deterministic, precision=precision)


@pytest.mark.parametrize("name", [None, "cuda", "cuda:0", "cuda:1"])
def test_a_gpu_is_chosen_by_an_index_that_torch_accepts(monkeypatch, name):
    """torch refuses to set "cuda", without an index, before it touches a driver."""
    chosen = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append)
    device = hardware.choose(name)
    torch.cuda.set_device(device)
    index = 1 if name == "cuda:1" else 0
    assert device == torch.device("cuda", index)
    assert chosen == [index]


def test_a_run_uses_its_own_number_of_threads():
    before = torch.get_num_threads()
    try:
        hardware.configure(CPU, threads=2, deterministic=False, precision="auto")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_products_are_rounded_to_tf32_only_where_that_is_asked_for(gpu):
    for precision in ("fp32", "tf32", "bf16", "tf32", "auto", "tf32", "fp32"):
        set_up(gpu, precision)
        rounded = precision == "tf32"
        assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")
        assert torch.backends.cudnn.allow_tf32 == rounded


def test_a_later_run_of_the_process_may_be_deterministic(gpu, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", chosen.append)
    set_up(gpu, "auto")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8", "cuBLAS reads it once"
    assert chosen == [], "which would load the compiler"
    set_up(gpu, "auto", deterministic=True)
    assert chosen == [True]


@pytest.mark.parametrize(
    ("precision", "new", "old", "cpu"),
    [
        ("auto", "bf16", "fp32", "fp32"),
        ("tf32", "tf32", "fp32", "fp32"),
        ("bf16", "bf16", "bf16", "bf16"),
        ("fp32", "fp32", "fp32", "fp32"),
    ],
)
def test_a_fingerprint_tells_what_was_computed_in(gpu, monkeypatch, precision, new, old, cpu):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    assert checkpoint.fingerprint(gpu, precision)["precision"] == new
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    hardware._ampere.cache_clear()
    assert checkpoint.fingerprint(gpu, precision)["precision"] == old
    assert checkpoint.fingerprint(CPU, precision)["precision"] == cpu


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_a_cpu_computes_in_bf16_only_when_told_to(precision, dtype):
    with hardware.autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_computes_in_bf16_where_it_need_not_emulate_it(monkeypatch, native):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or native
    )
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: nullcontext(dtype))
    hardware._ampere.cache_clear()
    with hardware.autocast(torch.device("cuda"), "auto") as dtype:
        assert dtype == (torch.bfloat16 if native else None)
    with hardware.autocast(torch.device("cuda"), "bf16") as dtype:
        assert dtype == torch.bfloat16
    hardware._ampere.cache_clear()
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize(
    ("share", "free", "expected"),
    [(None, 50, 50 + 20), ("0.5", 50, 40 - 30 + 20), ("0.9", 5, 5 + 20)],
)
def test_free_memory_is_what_the_process_may_take(monkeypatch, share, free, expected):
    """Of 80 in all 30 are reserved, 10 of them in use."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 10)
    monkeypatch.delenv("TUNER_MEMORY_FRACTION", raising=False)
    if share:
        monkeypatch.setenv("TUNER_MEMORY_FRACTION", share)
    assert hardware.free_bytes(torch.device("cuda")) == expected
    assert hardware.free_bytes(CPU) == float("inf")


def test_memory_that_is_kept_counts_as_taken_from_others(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 5_000_000)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 9_000_000)
    taken = hardware.memory_taken(torch.device("cuda", 0))
    assert taken == {"peak_memory_mb": 5, "reserved_memory_mb": 9}
    assert list(hardware.memory_taken(CPU)) == ["peak_memory_mb"]


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_tensors_give_back_is_kept_for_the_next_ones_until_the_run_is_over():
    set_up(CPU, "auto")
    hardware.release_memory(CPU)
    before = resident()
    torch.ones(128 << 20, dtype=torch.uint8)
    assert resident() > before + (96 << 20)
    hardware.release_memory(CPU)
    assert resident() < before + (32 << 20)


def test_the_peak_is_that_of_the_run_and_not_of_what_ran_before():
    taken = torch.ones(64 << 20, dtype=torch.uint8)
    high = hardware.peak_bytes(CPU)
    assert high > 64 << 20
    del taken
    hardware.release_memory(CPU)  # which runs of other tests may have told to be kept
    hardware.watch_memory(CPU)
    low = hardware.peak_bytes(CPU)
    assert low < high - (32 << 20)
    taken = torch.ones(128 << 20, dtype=torch.uint8)
    del taken
    assert hardware.peak_bytes(CPU) > low + (96 << 20)
