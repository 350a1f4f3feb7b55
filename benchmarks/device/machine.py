"""Describes the machine of a benchmark: device, driver, versions, missing packages."""

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import runner

QUERY = "name,driver_version,memory.total,power.limit,clocks.max.sm,utilization.gpu"
PACKAGES = ("torch", "torchvision", "triton", "numpy", "optuna", "hydra-core", "sqlalchemy")


def describe() -> dict[str, Any]:
    """Facts about the machine that can be read without initialising CUDA."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiler": shutil.which("cc") or shutil.which("gcc"),  # for Triton's launchers
        "packages": {name: _version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "missing": missing(),
        "nvidia-smi": _nvidia_smi(),
    }


def gpu(device: str) -> dict[str, Any]:
    """Properties of a CUDA device.  Raises: RuntimeError if there is none."""
    found = torch.cuda.get_device_properties(torch.device(device))
    return {
        "name": found.name,
        "count": torch.cuda.device_count(),
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_gb": round(found.total_memory / 1e9),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }


def _nvidia_smi() -> list[dict[str, str]]:
    """One row per GPU; empty without a driver."""
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        rows = [line.split(", ") for line in asked.stdout.splitlines()]
        return [dict(zip(QUERY.split(","), row, strict=False)) for row in rows]
    return []


def _cpu() -> str:
    with suppress(OSError):
        if found := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def missing() -> list[str]:
    """The requirements of tuner that are not installed."""
    project = tomllib.loads((runner.ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=\[; ]", text)[0] for text in project["dependencies"]]
    return [name for name in names if _version(name) is None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    found = describe()
    runner.write(asked.json, found)
    if asked.device.startswith("cuda"):
        found["gpu"] = gpu(asked.device)
        runner.write(asked.json, found)
    print(found)


if __name__ == "__main__":
    main()
