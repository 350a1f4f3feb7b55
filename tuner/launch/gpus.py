"""The GPUs of this machine, as reported by ``nvidia-smi``; nothing here imports torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from tuner.errors import ConfigError, LaunchError

PATIENCE = 60.0
"""Time limit of nvidia-smi in seconds; it hangs if the driver is stuck."""

BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Makes CUDA number GPUs as nvidia-smi does; by default it starts with the fastest one."""


@dataclass(frozen=True)
class Load:
    """The current load of a device as reported by ``nvidia-smi``."""

    used: float
    """MiB."""
    total: float
    """MiB."""
    utilisation: float
    """Fraction of the last sample during which a kernel ran, 0 to 1."""


def visible() -> list[str]:
    """Return the GPUs that workers may use, in the notation of ``CUDA_VISIBLE_DEVICES``.

    If that variable is not set, ``nvidia-smi`` lists them.

    Raises:
        LaunchError: ``nvidia-smi`` hangs.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for text in named.split(",") if (name := text.strip()) not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        asked = _nvidia_smi("--query-gpu=index", "--format=csv,noheader")
    except subprocess.TimeoutExpired as error:
        raise LaunchError(
            f"nvidia-smi has not listed the GPUs within {PATIENCE:.0f} s",
            key="launch",
            hint="set CUDA_VISIBLE_DEVICES=0,1 in the environment to name them, or to an empty "
            "value to use the CPU",
        ) from error
    return asked.stdout.split() if asked.returncode == 0 else []


def order() -> Mapping[str, str]:
    """Return environment variables that make CUDA in a worker number GPUs as ``visible`` does.

    The result is empty if CUDA_VISIBLE_DEVICES is set, because its numbers are CUDA's own.
    """
    return {} if "CUDA_VISIBLE_DEVICES" in os.environ else BY_BUS


def loads() -> dict[str, Load]:
    """Return the load of every GPU by index and by UUID; CUDA_VISIBLE_DEVICES may hold either.

    GPUs that report no load (the driver may answer ``[N/A]``) are left out. Indices are left out if
    CUDA may number the GPUs differently, as it orders different models by speed.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    query = "index,uuid,memory.used,memory.total,utilization.gpu"
    try:
        asked = _nvidia_smi(f"--query-gpu={query}", "--format=csv,noheader,nounits")
    except (OSError, subprocess.SubprocessError):
        return {}
    indices, uuids = dict[str, Load](), dict[str, Load]()
    for line in asked.stdout.splitlines() if asked.returncode == 0 else []:
        with suppress(ValueError):
            index, uuid, *numbers = line.split(", ")
            used, total, busy = map(float, numbers)
            indices[index] = uuids[uuid] = Load(used, total, busy / 100)
    by_bus = BY_BUS.items() <= (os.environ | order()).items()
    alike = len({load.total for load in uuids.values()}) <= 1
    return uuids | indices if by_bus or alike else uuids


def load_of(device: str, found: Mapping[str, Load]) -> Load | None:
    """Return the load of a device as named in CUDA_VISIBLE_DEVICES; a UUID may be abbreviated.

    The result is None if ``found`` does not have the device, such as an instance of a partitioned
    GPU (``MIG-…``).
    """
    if device in found or not device.startswith("GPU-"):
        return found.get(device)
    begun = [load for name, load in found.items() if name.startswith(device)]
    return begun[0] if len(begun) == 1 else None


def require(device: str | None) -> None:
    """Raise ConfigError if ``worker.device`` names a GPU and this machine has none."""
    if device is not None and device.startswith("cuda") and not visible():
        raise ConfigError(
            f"requested {device}, but this machine has no GPU",
            key="worker.device",
            hint="null selects the best available device",
        )


def _nvidia_smi(*options: str) -> subprocess.CompletedProcess[str]:
    command = ["nvidia-smi", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
