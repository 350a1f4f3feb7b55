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
    image = torch.zeros(1, *in_shape, device=device).to(memory_format=torch.channels_last)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return {
                name: cost(network, image, batch) for name, cost in COSTS.items() if name in names
            }
    finally:
        network.train(training)


def _multiply_adds(network: nn.Module, image: Tensor) -> float:
    """Return the multiply-adds of one image; PyTorch counts two operations for each."""
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, 0.3 s

    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops()) // 2


def _milliseconds(network: nn.Module, image: Tensor, batch: int = 1) -> float:
    """Return the median time of synchronised passes of a batch of the image in milliseconds."""
    images = image.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
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
    "parameters": lambda network, _image, _batch: sum(p.numel() for p in network.parameters()),
    "multiply_adds": lambda network, image, _batch: _multiply_adds(network, image),
    "latency_ms": lambda network, image, _batch: _milliseconds(network, image),
    "batch_latency_ms": _milliseconds,
}
"""The measurements by the names that a study uses."""
