"""Fork ``python -m tuner`` from a process that has already imported it.

A start costs about two seconds of CPU time, nearly all of it for imports. If a test needs a process
but not its start, :class:`Popen` forks one in about 30 ms. It behaves like a real one: it has its
own working directory, environment, signals, output and exit code, and it is a child of the process
that requested it. A process that starts others (``tuner tune``, ``tuner final``) forks them from
its own server.

Variables that the interpreter and C libraries read once at start (``PYTHON…``, ``OMP_…``,
``LC_ALL``) are those of the server: tests of these start a real process.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from tests import toy

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "tuner"]
PRELOADED = (
    "plotly.graph_objects",
    "optuna.importance",
    "rich.live",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "tuner.cli.commands.status",
    "tuner.cli.commands.best",
    "tuner.cli.commands.report",
    "tuner.cli.commands.tune",
    "tuner.cli.commands.worker",
    "tuner.cli.commands.train",
    "tuner.cli.commands.final",
    "tuner.launch.local",
    "tuner.algorithms.samplers.tpe",
)
"""No torch: that an objective without it stays without it is a promise …"""
TRAINER = (
    "torchvision",
    "tuner.train.data.augment",
    "tuner.train.engine",
    "tuner.train.data.torchvision_files",
    "tuner.train.model.cnn",
    "tuner.train.optim.parameter_groups",
)
"""… and what the built-in trainer imports beside that, in three more seconds."""
LARGEST = 1 << 17
"""Bytes of a request: a command line and an environment."""
START = subprocess.Popen
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""A server's environment, without the variables of the test that needs it first.

OpenBLAS waits for its threads at exit, and a clone has none of those of its parent.
"""
CLONE_PARENT = 0x8000
SYSCALL_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)


class Server(NamedTuple):
    """A process that forks others."""

    pid: int
    socket: socket.socket

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Start a process on three open files; its id.  It is this process's child."""
        message = json.dumps(request).encode()
        socket.send_fds(self.socket, [message], descriptors)
        answer = self.socket.recv(32)
        if not answer:
            raise ConnectionError("the process that forks tuner processes has died")
        return int(answer)


_servers: dict[Sequence[str], Server] = {}


def server(more: Sequence[str]) -> Server:
    """This process's server; it is started when first asked for, and ends with this process."""
    if more not in _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.warm", str(theirs.fileno()), *more]
        process = START(command, pass_fds=[theirs.fileno()], cwd=ROOT, env=ENVIRONMENT)
        theirs.close()
        _servers[more] = Server(process.pid, ours)
        atexit.register(process.wait)
        atexit.register(ours.close)
    return _servers[more]


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen`` that forks ``python -m tuner …`` and starts all else as usual."""

    more: Sequence[str] = ()
    """Modules that are imported before, beside ``PRELOADED``."""

    def _execute_child(self, *args: Any) -> None:
        real = super()._execute_child  # type: ignore[misc]
        asked = inspect.signature(real).bind(*args).arguments
        words = asked["args"]
        if SYSCALL_CLONE is None or not isinstance(words, list) or words[:3] != COMMAND:
            real(*args)
            return
        request = {
            "argv": words[3:],
            "cwd": os.fspath(asked["cwd"] or os.getcwd()),
            "env": dict(os.environ if asked["env"] is None else asked["env"]),
            "session": asked["start_new_session"],
        }
        files = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
        descriptors = [k if given == -1 else given for k, given in enumerate(files)]
        self.pid = server(self.more).fork(request, descriptors)
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[end] for end in ends))  # type: ignore[attr-defined]


class TrainerPopen(Popen):
    """… from a process that has the built-in trainer, and so torch, imported too."""

    more = TRAINER


def serve(asked: socket.socket) -> None:
    """Fork for each request; returns in the forked processes, each ready to run its command."""
    while True:
        request, descriptors = _wait_to_be_forked(asked)
        own = _own_server() if request["argv"][:1] in (["tune"], ["final"]) else None
        if own is None:
            return _become(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        asked = own


def _wait_to_be_forked(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request; in the forked process, what was requested."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, LARGEST, 3)
        if not message:
            os._exit(0)  # nobody is left to ask
        pid = _fork_sibling()
        if pid == 0:
            asked.close()
            return json.loads(message), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(pid).encode())


def _fork_sibling() -> int:
    """``os.fork``, but the new process is a child of this one's parent, which can wait for it."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    clone = ctypes.PyDLL(None).syscall
    pid = clone(SYSCALL_CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return int(pid)


def _become(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Take on what the request says: all that a new process would have."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["tuner", *request["argv"]]
    sys.path[0] = request["cwd"]
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        number = ("stdin", "stdout", "stderr").index(name)
        stream = open(number, mode, errors=getattr(sys, name).errors, closefd=False)  # noqa: SIM115
        if mode == "w":
            stream.reconfigure(line_buffering=number == 2 or stream.isatty())  # type: ignore[union-attr]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _own_server() -> socket.socket | None:
    """Make a server for what this process will start, before it has any thread.

    Returns None in this process, and in the server the socket on which it is asked.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        return theirs
    theirs.close()
    _servers[Popen.more] = Server(pid, ours)
    subprocess.Popen = Popen  # type: ignore[misc]
    return None


def _practise() -> None:
    """Run commands once: Hydra composes what most tests use, and SQL statements are compiled."""
    from tuner import cli
    from tuner.storage import database

    connect, path, opened = database.connect, [*sys.path], []

    def recorded(*args: Any, **options: bool) -> Any:
        opened.append(connect(*args, **options))
        return opened[-1]

    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        for name, text in {"../toy.py": toy.OBJECTIVE, **toy.CONF}.items():
            file = Path("conf", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        database.connect = recorded
        with open(os.devnull, "w") as out, redirect_stdout(out), redirect_stderr(out):
            for command in ("worker", "status", "report"):
                assert cli.main([command, *toy.DEFAULTS, "study.n_trials=2"]) == 0
    for each in opened:
        each.close()
    database.connect, sys.path[:] = connect, path
    del sys.modules["toy"]


def main() -> None:
    from tests import composed
    from tuner import cli
    from tuner.config import composition

    for name in (*PRELOADED, *sys.argv[2:]):
        importlib.import_module(name)
    composition._composed = composed.once
    _practise()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
