"""Measurements in alternating rounds, and the machine on which they were made."""

import platform
import statistics

import torch
import torchvision
from job import Job

Row = dict[str, float]


def rate(job: Job, seconds: list[float]) -> float:
    return job.images / statistics.median(seconds)


def ratios(rounds: list[Row]) -> Row:
    """Return tuner's value relative to each other one, the median over rounds."""
    others = [name for name in rounds[0] if not name.startswith("ours")]
    return {name: statistics.median(r["ours"] / r[name] for r in rounds) for name in others}


def show(rounds: list[Row], job: Job) -> None:
    found = ratios(rounds)
    for name in sorted(rounds[0]):
        values = [row[name] for row in rounds]
        ratio = f"ours is {found[name]:5.2f} of it" if name in found else ""
        print(f"  {name:26} {statistics.median(values):10,.0f} images/s"
              f"  ({min(values):,.0f} to {max(values):,.0f})  {ratio}")  # fmt: skip


def rotated(names: list[str], turn: int) -> list[str]:
    return names[turn % len(names) :] + names[: turn % len(names)]


def machine(device: str) -> dict[str, str]:
    found = {
        "cpu": platform.processor() or platform.machine(),
        "cores": str(torch.multiprocessing.cpu_count()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
