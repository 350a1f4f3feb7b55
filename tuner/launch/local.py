"""Run workers as supervised processes on this machine, one per GPU, or two on a CPU."""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Literal

from tuner.config.bounds import Count, Whole
from tuner.config.types import validate_arguments
from tuner.environment import DEVICE, MEMORY_FRACTION, SHARED, SUPERVISOR, WORKER, device_lock
from tuner.launch import gpus, worker_logs
from tuner.launch.base import Order, Process, last_line, worker_environment
from tuner.launch.gpu_packing import HEADROOM, Packer, mps
from tuner.launch.restarts import RestartPolicy
from tuner.log import log


class Local:
    """The launcher ``launch=local``: worker processes on this machine."""

    spread = False
    detach = False

    @validate_arguments("launch")
    def __init__(
        self,
        workers: Count | None,
        workers_per_device: Count | Literal["auto"],
        mps: bool,
        threads: Count,
        max_restarts: Whole,
    ) -> None:
        self.devices = gpus.visible()
        self.grows = workers_per_device == "auto" and workers is None and bool(self.devices)
        each = 1 if workers_per_device == "auto" else workers_per_device
        default = len(self.devices) * each or 2
        self.workers = workers if workers is not None else default
        self.mps = mps and bool(self.devices)
        self.threads = threads
        self.max_restarts = max_restarts

    def start(self, order: Order) -> "Processes":
        """Start the workers, each with its own ``worker-<n>.log`` in ``order.log_dir``."""
        order.log_dir.mkdir(parents=True, exist_ok=True)
        return Processes(order, self)

    def slot(self, k: int, log: worker_logs.Log, device: str | None = None) -> "Slot":
        """Return the slot of worker ``k`` on the given device, or on the next one in turn."""
        if device is None and self.devices:
            device = self.devices[k % len(self.devices)]
        return Slot(log, self._environment(device), device)

    def describe(self) -> str:
        """Describe the workers, such as ``2 workers on the CPU``."""
        where = f"GPU {', '.join(self.devices)}" if self.devices else "the CPU"
        more = ", more where there is room" * self.grows
        return f"{self.workers} worker{'s' * (self.workers > 1)} on {where}{more}"

    def _environment(self, device: str | None) -> dict[str, str]:
        """Return variables that pin a worker to its device and cores before torch is imported."""
        pinned = worker_environment(self.threads) | {SUPERVISOR: str(os.getpid())}
        if self.grows or self.workers > len(self.devices):
            pinned[SHARED] = device_lock(device or "cpu")
        if device is not None:
            pinned |= gpus.order()
            pinned["CUDA_VISIBLE_DEVICES"] = device
            pinned[DEVICE] = "cuda:0"
            each = -(-self.workers // len(self.devices))
            if each > 1:
                pinned[MEMORY_FRACTION] = f"{HEADROOM / each:.3f}"
        return pinned


@dataclass
class Slot:
    """A slot for a worker, numbered like its log, with its environment and its current process."""

    log: worker_logs.Log
    environment: Mapping[str, str]
    device: str | None = None
    worker: str = ""
    process: Process | None = None
    restart_at: float | None = None
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    started: float = 0.0

    def start(self, order: Order, more: Mapping[str, str]) -> None:
        self.worker = f"{socket.gethostname()}-{self.log.number}-{uuid.uuid4().hex[:6]}"
        self.restart_at = None
        self.started = time.monotonic()
        environment = {**os.environ, **self.environment, **more, WORKER: self.worker}
        self.process = order.fork(order.command, environment, self.log.file) or subprocess.Popen(
            list(order.command),
            stdin=subprocess.DEVNULL,
            stdout=self.log.file,
            stderr=self.log.file,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the supervisor, which signals the workers
        )


class Processes:
    """The running workers of ``launch=local``, implementing ``Job``."""

    def __init__(self, order: Order, launcher: Local) -> None:
        self.order = order
        self.launcher = launcher
        self.held = ExitStack()
        self.slots = [launcher.slot(k, self._log()) for k in range(launcher.workers)]
        self.where = worker_logs.where(order.log_dir, [slot.log for slot in self.slots])
        self.packer = Packer(limit=os.cpu_count() or 1) if launcher.grows else None
        self.restarts_left = launcher.max_restarts
        self.stopping = False
        self.failure: str | None = None
        self.environment = self.held.enter_context(mps(launcher.mps))
        for slot in self.slots:
            slot.start(order, self.environment)

    def poll(self) -> bool:
        """Reap and restart workers; return False once every worker has ended for good."""
        for slot in self.slots:
            if slot.process is not None and (code := slot.process.poll()) is not None:
                slot.process = None
                self._ended(slot, code)
            if slot.restart_at is not None and time.monotonic() >= slot.restart_at:
                slot.start(self.order, self.environment)
        running = any(s.process is not None or s.restart_at is not None for s in self.slots)
        if running and self.packer is not None and not self.stopping:
            self._pack(self.packer)
        if not running:
            self.held.close()
        return running

    def _log(self) -> worker_logs.Log:
        """Claim a log that is reserved for this command until it has ended."""
        log = worker_logs.claim(self.order.log_dir)
        self.held.callback(log.file.close)
        return log

    def _pack(self, packer: Packer) -> None:
        """Add a worker on each device that has room for one."""
        at_work = [s.device for s in self.slots if s.process is not None and s.device is not None]
        for device in packer.room(Counter(at_work), time.monotonic()):
            slot = self.launcher.slot(len(self.slots), self._log(), device)
            self.slots.append(slot)
            slot.start(self.order, self.environment)

    def stop(self, signal_number: int) -> None:
        """Forward a signal to all workers and do not restart them."""
        self.stopping = True
        for slot in self.slots:
            slot.restart_at = None
            if slot.process is not None:
                slot.process.send_signal(signal_number)

    def kill(self) -> None:
        """Send SIGKILL to all workers and their children."""
        self.stopping = True
        for slot in self.slots:
            slot.restart_at = None
            if slot.process is not None:
                with suppress(ProcessLookupError):  # ``stop`` may have reaped it
                    os.killpg(slot.process.pid, signal.SIGKILL)
                slot.process.wait()
                slot.process = None
                self.order.on_end(slot.worker)
        self.held.close()

    def _ended(self, slot: Slot, code: int) -> None:
        died = self.order.on_end(slot.worker)
        if self.stopping or (code == 0 and not died):
            return
        number = slot.log.number
        pause = slot.policy.pause(code, time.monotonic() - slot.started)
        if pause is None:
            self._fail(f"worker {number} gave up; {last_line(slot.log.path)}")
        elif self.restarts_left == 0:
            self._fail(f"worker {number} died once more (exit {code}); see {slot.log.path}")
        else:
            self.restarts_left -= 1
            slot.restart_at = time.monotonic() + pause
            log.warning(
                "worker %d died (exit code %d); restarting it in %.1f s", number, code, pause
            )

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self.stop(signal.SIGTERM)
