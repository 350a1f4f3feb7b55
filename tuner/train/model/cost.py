"""Measure the costs of a network before it is trained; they do not depend on the weights.

Latencies are measured in float32, the precision of an exported model, even if training and scoring
use bf16.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

WARM_UP, ROUNDS = 5, 30
"""Number of passes before the measurement, and of passes whose median is taken."""


def measure(
    network: nn.Module,
    in_shape: Sequence[int],
    device: torch.device,
    names: Sequence[str],
    batch: int,
) -> dict[str, float]:
    """Measure those of ``COSTS`` that are in ``names``; ``in_shape`` is (C, H, W).

    Random generators and the network remain unchanged.
    """
    wanted = [name for name in COSTS if name in names]
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return {name: COSTS[name](network, _images(in_shape, device), batch) for name in wanted}
    finally:
        network.train(training)


def _images(in_shape: Sequence[int], device: torch.device) -> Tensor:
    image = torch.zeros(1, *in_shape, device=device)
    return image.to(memory_format=torch.channels_last)


def _parameters(network: nn.Module, _image: Tensor, _batch: int) -> float:
    return sum(p.numel() for p in network.parameters())


def _multiply_adds(network: nn.Module, image: Tensor, _batch: int) -> float:
    """Return the multiply-adds of one image; PyTorch counts two operations for each."""
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, 0.3 s

    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // 2


def _latency(network: nn.Module, image: Tensor, _batch: int) -> float:
    """Return the milliseconds of a single image."""
    return _milliseconds(network, image)


def _batch_latency(network: nn.Module, image: Tensor, batch: int) -> float:
    """Return the milliseconds of a whole batch."""
    return _milliseconds(
        network, image.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    )


def _milliseconds(network: nn.Module, images: Tensor) -> float:
    """Return the median time of synchronised passes in milliseconds."""
    seconds = []
    for place in range(WARM_UP + ROUNDS):
        _wait(images.device)
        began = time.perf_counter()
        network(images)
        _wait(images.device)
        if place >= WARM_UP:
            seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


COSTS: dict[str, Callable[[nn.Module, Tensor, int], float]] = {
    "parameters": _parameters,
    "multiply_adds": _multiply_adds,
    "latency_ms": _latency,
    "batch_latency_ms": _batch_latency,
}
"""The measurements by the names that a study uses."""
