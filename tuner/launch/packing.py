"""Several workers on one GPU: how many fit, by what is measured while they run.

Only ``nvidia-smi`` and ``nvidia-cuda-mps-control`` are asked; nothing here imports torch.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tuner.log import log

HEADROOM = 0.95
"""Share of a device's memory that workers may take together; contexts need the rest."""

BUSY = 0.9
"""Mean utilisation above which another worker would only wait."""

LOOK_EVERY = 2.0
SETTLE = 20.0
"""Seconds to watch a device before a worker is added: start-up and one epoch of a small model."""


@dataclass(frozen=True)
class Load:
    """What ``nvidia-smi`` says of a device now."""

    used: float
    """MiB."""
    total: float
    """MiB."""
    utilisation: float
    """Share of the last sample during which a kernel ran, 0 to 1."""


def loads() -> dict[str, Load]:
    """Every GPU's load by its index and by its UUID, for ``CUDA_VISIBLE_DEVICES`` may hold either.

    Those that do not tell (a driver may answer ``[N/A]``, or not at all) are left out.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    query = "index,uuid,memory.used,memory.total,utilization.gpu"
    try:
        asked = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found = {}
    for line in asked.stdout.splitlines():
        with suppress(ValueError):
            index, uuid, *numbers = line.split(", ")
            used, total, busy = map(float, numbers)
            found[index] = found[uuid] = Load(used, total, busy / 100)
    return found


@dataclass
class Packer:
    """Decides when a device takes one more worker: ``launch.workers_per_device=auto``."""

    limit: int
    """Workers on this machine at most; each needs a core to feed its device."""
    peaks: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    looked: float = 0.0
    since: dict[str, float] = field(default_factory=dict)

    def room(self, workers: Mapping[str, int], now: float) -> list[str]:
        """Devices that would take another worker, given how many each has now."""
        if now - self.looked < LOOK_EVERY:
            return []
        self.looked = now
        found: list[str] = []
        for device, load in loads().items():
            if device in workers:
                self._note(device, load, now)
                if sum(workers.values()) + len(found) < self.limit and self._fits(
                    device, load, workers[device], now
                ):
                    found.append(device)
                    self._forget(device, now)
        return found

    def _note(self, device: str, load: Load, now: float) -> None:
        self.since.setdefault(device, now)
        self.peaks[device] = max(self.peaks.get(device, 0.0), load.used)
        self.samples.setdefault(device, []).append(load.utilisation)

    def _fits(self, device: str, load: Load, count: int, now: float) -> bool:
        if now - self.since[device] < SETTLE or self.peaks[device] <= 0:
            return False
        busy = sum(self.samples[device]) / len(self.samples[device])
        each = self.peaks[device] / count
        fits = busy < BUSY and each * (count + 1) <= HEADROOM * load.total
        if fits:
            log.info(
                "GPU %s is %.0f %% busy, %.0f MiB a worker: one more", device, 100 * busy, each
            )
        return fits

    def _forget(self, device: str, now: float) -> None:
        """What was measured no longer holds once another worker has come."""
        self.since[device] = now
        self.peaks.pop(device)
        self.samples.pop(device)


@contextmanager
def mps(wanted: bool) -> Iterator[dict[str, str]]:
    """NVIDIA's multi-process service for the workers, as environment; empty where there is none.

    Kernels of several processes then run side by side instead of in turns.  A fatal fault of one
    process hits all of them, which is why it must be asked for.
    """
    if not wanted:
        yield {}
        return
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        log.warning("launch.mps: nvidia-cuda-mps-control is not installed; workers take turns")
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="tuner-mps-") as directory:
        pipes = {"CUDA_MPS_PIPE_DIRECTORY": directory, "CUDA_MPS_LOG_DIRECTORY": directory}
        environment = {**os.environ, **pipes}
        subprocess.run([control, "-d"], env=environment, check=True, timeout=60)
        try:
            yield pipes
        finally:
            subprocess.run([control], input=b"quit\n", env=environment, check=False, timeout=60)
            _wait_gone(Path(directory) / "nvidia-cuda-mps-control.pid")


def _wait_gone(pid_file: Path) -> None:
    deadline = time.monotonic() + 10
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
