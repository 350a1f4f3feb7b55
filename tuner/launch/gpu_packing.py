"""Run several workers on one GPU; measurements while they run decide how many fit."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tuner.launch import gpus
from tuner.launch.gpus import Load
from tuner.log import log

HEADROOM = 0.95
"""Fraction of a device's memory that workers may use together; CUDA contexts need the rest."""

BUSY = 0.9
"""Mean utilisation above which another worker would only wait."""

LOOK_EVERY = 2.0
SETTLE = 20.0
"""Seconds to watch a device before adding a worker: start-up and one epoch of a small model."""


@dataclass
class Packer:
    """Decides when to add a worker to a device, for ``launch.workers_per_device=auto``."""

    limit: int
    """Maximum number of workers on this machine; each needs a core to feed its device."""
    peaks: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    looked: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    """Devices whose load nvidia-smi does not report, for which the warning has been logged."""

    def room(self, workers: Mapping[str, int], now: float) -> list[str]:
        """Return the devices that have room for another worker.

        Args:
            workers: The current number of workers of each device.
            now: The monotonic time in seconds.
        """
        if sum(workers.values()) >= self.limit or now - self.looked < LOOK_EVERY:
            return []
        self.looked = now
        found: list[str] = []
        told = gpus.loads()
        for device, count in workers.items():
            load = gpus.load_of(device, told)
            if load is None:
                self._miss(device)
                continue
            self._note(device, load, now)
            room = sum(workers.values()) + len(found) < self.limit
            if room and self._fits(device, load, count, now):
                found.append(device)
                self._forget(device, now)
        return found

    def _miss(self, device: str) -> None:
        if device not in self.untold:
            self.untold.add(device)
            log.warning(
                "GPU %s gets no more workers while nvidia-smi does not tell how full it is; it "
                "knows whole GPUs, by UUID or by number in the order of buses; hint: "
                "launch.workers_per_device=2",
                device,
            )

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
        """Discard a device's measurements, which no longer hold once another worker has started."""
        self.since[device] = now
        self.peaks.pop(device)
        self.samples.pop(device)


@contextmanager
def mps(wanted: bool) -> Iterator[dict[str, str]]:
    """Start NVIDIA's Multi-Process Service and yield environment variables for the workers.

    With it, kernels of several processes run concurrently instead of in turns. A fatal fault of one
    process affects all of them, so the service must be requested. If it does not start, the reason
    is logged, the yielded mapping is empty and the workers take turns.
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
        # The daemon would renumber the devices of this variable, but the workers request them by
        # their original numbers: according to the manual, only one of the two may have it.
        environment = {**os.environ, **gpus.order(), **pipes}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if not _control([control, "-d"], environment):
            yield {}
            return
        try:
            yield pipes
        finally:
            _control([control], environment, b"quit\n")
            _wait_gone(Path(directory) / "nvidia-cuda-mps-control.pid")


def _control(command: list[str], environment: Mapping[str, str], said: bytes = b"") -> bool:
    """Run a command of the MPS daemon; return whether it succeeded, and log a warning if not."""
    try:
        subprocess.run(command, input=said, env=environment, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("launch.mps: %s", error)
        return False
    return True


def _wait_gone(pid_file: Path) -> None:
    deadline = time.monotonic() + 10
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
