"""Run one worker process and restart it when it dies; a Ray actor does this on its node."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner.environment import (
    DEVICE,
    GAVE_WAY,
    MEMORY_FRACTION,
    REPLACES,
    SHARED,
    SUPERVISOR,
    WORKER,
    device_lock,
)
from tuner.launch.base import last_line, worker_environment
from tuner.launch.restarts import RestartPolicy


class Keeper:
    """Runs one worker from construction on, in the directory below which ``log`` is written."""

    def __init__(
        self,
        place: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        threads: int,
        directory: str | None,
        log: str,
        max_restarts: int,
    ) -> None:
        self.place = place
        self.command = [sys.executable, *command[1:]]
        self.environment = environment
        self.threads = threads
        self.directory = Path(directory or ".").absolute()
        self.log = self.directory / log
        self.restarts_left = max_restarts
        self.process: subprocess.Popen[bytes] | None = None
        self.told: int | None = None
        self.result: tuple[int, str] | None = None
        self.changed = threading.Condition()
        threading.Thread(target=self._keep, daemon=True).start()

    def where(self) -> str:
        """Return host name and log path; the answer also shows that the actor is placed."""
        return f"{socket.gethostname()}:{self.log}"

    def wait(self) -> tuple[int, str]:
        """Wait until the worker has ended for good; return its exit code and last log line."""
        with self.changed:
            self.changed.wait_for(lambda: self.result is not None)
            assert self.result is not None
            return self.result

    def stop(self, number: int) -> None:
        """Send a signal to the worker and do not restart it."""
        with self.changed:
            self.told = number
            self.changed.notify_all()
            if self.process is not None:
                self.process.send_signal(number)

    def _keep(self) -> None:
        # Ray's threads block SIGINT, and a process inherits the mask of the thread that starts it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            code = self._run_all()
            result = (code, last_line(self.log))
        except OSError as error:
            result = (2, f"{socket.gethostname()}: {error}; hint: share the directory, or ship it")
        with self.changed:
            self.result = result
            self.changed.notify_all()

    def _run_all(self) -> int:
        policy = RestartPolicy()
        while True:
            started = time.monotonic()
            code = self._run()
            pause = policy.pause(code, time.monotonic() - started)
            over = code in (0, GAVE_WAY) or pause is None or self.restarts_left == 0
            with self.changed:
                if over or self.changed.wait_for(lambda: self.told is not None, pause):
                    return code
            self.restarts_left -= 1

    def _run(self) -> int:
        """Run the worker once and return its exit code."""
        os.stat(self.directory)  # raises if it is not shared here; mkdir would create it
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.changed:
            if self.told is not None:
                return 128 + self.told
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=self.directory,
                    env={**os.environ, **self._own()},
                    start_new_session=True,
                )
        code = self.process.wait()
        with self.changed:
            self.process = None
        return code

    def _own(self) -> dict[str, str]:
        """Return variables of this run of the worker, and of the devices of this process."""
        found = {
            **worker_environment(self.threads),
            **self.environment,
            SUPERVISOR: str(os.getpid()),
            WORKER: f"{self.place}.{uuid.uuid4().hex[:6]}",
            REPLACES: self.place,
        }
        if devices := os.environ.get("CUDA_VISIBLE_DEVICES"):
            found[DEVICE] = "cuda:0"
            if MEMORY_FRACTION in self.environment:  # others use the rest of the device
                found[SHARED] = device_lock(devices)
        return found
