"""Import once what all workers of this machine need, and fork each of them from that process.

A worker with the built-in trainer imports for two seconds of CPU time. On a machine whose workers
share a few cores, ``tuner tune`` and ``tuner final`` start this process as soon as they know the
configuration; it imports while they check everything else, and their workers then start at once.

``python -m tuner.launch.fork_server DESCRIPTOR MODULE…`` is the process. It answers each order,
which comes with the open log, with the id of a new worker, and tells the exit codes of its workers.
It ends when the other side of its socket is closed.

The ``forkserver`` of ``multiprocessing`` is no substitute: up to Python 3.13 its processes skip
``atexit`` handlers, with which trackers flush; when it is killed, they go on unsupervised; it
imports with the environment, terminal and session of ``tuner tune``, so that Ctrl-C ends it; and
it returns the id of a process that does not lead its session yet, which a kill of its group misses.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from omegaconf import DictConfig

from tuner.config import lookup
from tuner.config.uncollected import uncollected
from tuner.environment import SUPERVISOR
from tuner.errors import LaunchError
from tuner.launch import gpus
from tuner.launch.base import Process, worker_environment

LOCAL = "tuner.launch.local.Local"
TRAINER = "tuner.train.engine.train"
BESIDES = ("tuner.cli", "tuner.cli.commands.worker")
"""What a worker with the built-in trainer imports beside the targets of its configuration."""
COMMAND = [sys.executable, "-m", "tuner"]
LARGEST = 1 << 20
"""Maximum bytes of an order: a command line and an environment."""


class ForkServer:
    """A context in which workers may be forked; until ``begin`` it costs nothing."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.codes: dict[int, int] = {}
        """Exit codes of workers by process id."""

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.channel.close()
            self.process.kill()  # it may be importing
            self.process.wait()

    def begin(self, cfg: DictConfig) -> None:
        """Start to import, if the configuration's workers are to be forked."""
        threads = lookup.at(cfg, "launch.threads")
        if not suits(cfg) or not isinstance(threads, int):
            return
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tuner.launch.fork_server", str(number), *modules(cfg)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **worker_environment(threads)},
            pass_fds=[number],
            start_new_session=True,
        )
        theirs.close()

    def fork(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Process | None:
        """Return a new process for a command, None if it has to be started in another way."""
        if self.process is None or list(command[:3]) != COMMAND:
            return None
        order = json.dumps({"words": command[3:], "environment": dict(environment)}).encode()
        try:
            socket.send_fds(self.channel, [order], [log.fileno()])
            while message := self.channel.recv(LARGEST):
                told = json.loads(message)
                if "born" in told:
                    self.codes.pop(told["born"], None)  # an earlier process had the same id
                    return Forked(self, told["born"])
                self._note(told)
        except OSError:  # it has died, or the order is too large
            pass
        return None

    def code(self, pid: int) -> int | None:
        """Return the exit code of a worker, None while it runs."""
        while pid not in self.codes and select.select([self.channel], [], [], 0)[0]:
            message = b""
            with suppress(ConnectionError):
                message = self.channel.recv(LARGEST)
            if not message:  # the server has died, so the exit code is unknown
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                return -signal.SIGKILL
            self._note(json.loads(message))
        return self.codes.get(pid)

    def _note(self, told: Mapping[str, int]) -> None:
        self.codes[told["pid"]] = told["code"]


class Forked:
    """A worker's process that the server has forked."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.server, self.pid = server, pid

    def poll(self) -> int | None:
        return self.server.code(self.pid)

    def wait(self) -> int:
        while (code := self.poll()) is None:
            select.select([self.server.channel], [], [], 0.1)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


def suits(cfg: DictConfig) -> bool:
    """Return whether to fork the workers: with the built-in trainer, on this machine's CPU.

    Workers on GPUs have their own cores, on which they import in parallel.
    """
    here = lookup.text_at(cfg, "launch._target_") == LOCAL
    trainer = lookup.text_at(cfg, "objective._target_") == TRAINER
    if not (here and trainer and sys.platform == "linux"):
        return False
    with suppress(LaunchError):
        return not gpus.visible()
    return False


def modules(cfg: DictConfig) -> list[str]:
    """Return the modules that workers import; of the configuration's targets only tuner's own."""
    keys = [key for key in lookup.keys(cfg) if key.endswith("._target_")]
    named = {lookup.text_at(cfg, key) or "" for key in keys}
    own = {name.rpartition(".")[0] for name in named if name.startswith("tuner.")}
    return [*BESIDES, *sorted(own)]


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each order; return it in the new process, and None once the socket is closed."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_of_the_dead(channel)
        if channel.fileno() not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(channel, LARGEST, 1)
        if not message:
            return None
        waits, leads = os.pipe()
        if (pid := os.fork()) == 0:
            os.setsid()  # a terminal's signals, and the scheduler's groups, go by sessions
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (woken, wake, waits, leads, channel.detach()):
                os.close(descriptor)
            return {**json.loads(message), "log": descriptors[0]}
        os.close(leads)
        os.read(waits, 1)  # until it leads its session, so that its group can be killed
        os.close(waits)
        os.close(descriptors[0])
        channel.send(json.dumps({"born": pid}).encode())


def _tell_of_the_dead(channel: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(dead[1])
            channel.send(json.dumps({"pid": dead[0], "code": code}).encode())


def _become(order: Mapping[str, Any]) -> None:
    """Take on the log, environment and command line of an order."""
    for target in (1, 2):
        os.dup2(order["log"], target)
    os.close(order["log"])
    os.environ.clear()
    os.environ.update(order["environment"])
    os.environ[SUPERVISOR] = str(os.getppid())
    sys.argv = ["tuner", *order["words"]]
    for name in {"numpy", "torch"} & set(sys.modules):  # else all would draw the same numbers
        sys.modules[name].random.seed()


def main(number: str, *names: str) -> int:
    """Be the process: import, fork, and in each forked process run its command."""
    with uncollected():
        for name in names:
            with suppress(ImportError):  # the worker says what is wrong
                importlib.import_module(name)
    gc.freeze()  # a collection would write to all pages, which forked processes share
    order = serve(socket.socket(fileno=int(number)))
    if order is None:
        return 0
    _become(order)
    return int(importlib.import_module("tuner.cli").run())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
