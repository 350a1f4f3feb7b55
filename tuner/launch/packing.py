"""Several workers on one GPU: how many fit, by what is measured while they run."""

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
"""Share of a device's memory that workers may take together; contexts need the rest."""

BUSY = 0.9
"""Mean utilisation above which another worker would only wait."""

LOOK_EVERY = 2.0
SETTLE = 20.0
"""Seconds to watch a device before a worker is added: start-up and one epoch of a small model."""


@dataclass
class Packer:
    """Decides when a device takes one more worker: ``launch.workers_per_device=auto``."""

    limit: int
    """Workers on this machine at most; each needs a core to feed its device."""
    peaks: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    looked: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    """Devices that nvidia-smi does not tell of, which has been said."""

    def room(self, workers: Mapping[str, int], now: float) -> list[str]:
        """Devices that would take another worker, given how many each has now."""
        if now - self.looked < LOOK_EVERY:
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
        """What was measured no longer holds once another worker has come."""
        self.since[device] = now
        self.peaks.pop(device)
        self.samples.pop(device)


@contextmanager
def mps(wanted: bool) -> Iterator[dict[str, str]]:
    """NVIDIA's multi-process service for the workers, as environment; empty where there is none.

    Kernels of several processes then run side by side instead of in turns.  A fatal fault of one
    process hits all of them, which is why it must be asked for.  Where it does not start, the log
    says why, and the workers take turns.
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
        # The daemon would number the devices of this variable anew, but the workers ask it for them
        # by the numbers that they have without it: only one of both may have it, says the manual.
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
    """Whether the daemon did as it was told; a warning if not."""
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
