"""Start a supervisor and separate workers on one study, and inject faults for some time."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import objective
from tests.chaos.backends import Backend

GRACE = 6.0
"""Seconds until a silent worker is lost: many heartbeats, because the machine may be loaded."""

CONF = {
    "objective/mine.yaml": (
        "_target_: mine.train\nx: 0.5\ny: 0.5\nkind: a\nepochs: 6\nseconds: 0.0\n"
    ),
    "space/mine.yaml": (
        "objective.x: interval(0, 1)\nobjective.y: interval(0, 1)\nobjective.kind: choice(a, b)\n"
    ),
    "launch/turns.yaml": "defaults: [local, _self_]\n_target_: engine.Turns\n",
}

WEIGHTS = {
    "kill": 6,
    "terminate": 3,
    "pause": 3,
    "doze": 2,
    "fill": 3,
    "database": 3,
    "behead": 1,
    "remove": 2,
}
"""Relative frequencies of the faults."""


HALVING = ("pruner=successive_halving", "pruner.min_resource=2", "pruner.reduction_factor=2")
"""A pruner that notes in the study what it has judged, to detect deaths before the decision."""


@dataclass(frozen=True)
class Size:
    """The amount of work, and the duration of the faults."""

    seconds: float
    n_trials: int
    epochs: int = 6
    epoch_seconds: float = 0.15
    free_workers: int = 2
    pause: tuple[float, float] = (0.2, 1.2)
    """Seconds from one fault to the next."""
    pruner: tuple[str, ...] = ("pruner=none",)
    concurrency: int = 1
    """Number of concurrent trials in each process."""
    turn: float | None = None
    """Minutes after which workers give way; not on SQLite, which no cluster shares."""


@dataclass
class Disturbance:
    """One injected fault and its target."""

    kind: str
    pid: int
    note: str = ""


@dataclass
class Storm:
    """One study with fault injection; the same seed draws the same faults."""

    directory: Path
    backend: Backend
    size: Size
    seed: int
    done: list[Disturbance] = field(default_factory=list)
    free: list[subprocess.Popen[bytes]] = field(default_factory=list)
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)
    paused: dict[int, float] = field(default_factory=dict)
    full: dict[int, float] = field(default_factory=dict)
    weather: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        lay_out(self.directory)

    def run(self) -> None:
        """Inject faults for the given time, then let all workers end undisturbed."""
        try:
            self._supervise()
            self._wait_for_work()
            end = time.monotonic() + self.size.seconds
            while time.monotonic() < end and self._supervised():
                self._disturb()
                pause = time.monotonic() + self.rng.uniform(*self.size.pause)
                while time.monotonic() < pause:
                    self._relieve()
                    time.sleep(0.05)
            self._calm()
        finally:
            self.end()

    def end(self) -> None:
        """End all processes."""
        for pid in self._workers():
            _signal(pid, signal.SIGKILL)
        for process in (*self.free, *self.supervisors):
            if process.poll() is None:
                process.kill()
            process.wait()

    def _supervise(self) -> None:
        self.supervisors.append(self._start("tune", f"tune-{len(self.supervisors)}.log"))

    def _supervised(self) -> bool:
        """Return whether the study continues; restart a command that found no database."""
        last = self.supervisors[-1]
        if last.poll() is None:
            return True
        log = self._log(f"tune-{len(self.supervisors) - 1}.log")
        if last.returncode in (1, 2) and ("cannot open" in log or "once it is available" in log):
            self._supervise()
            return True
        return False

    def _start(self, command: str, log: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "tuner", command, *overrides(self.backend.url, self.size)],
                cwd=self.directory,
                env={**os.environ, "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _wait_for_work(self) -> None:
        deadline = time.monotonic() + 120
        while not (self.directory / "journal.txt").exists():
            assert self.supervisors[-1].poll() is None, self._log("tune-0.log")
            assert time.monotonic() < deadline, "nothing has begun"
            time.sleep(0.1)

    def _log(self, name: str) -> str:
        return (self.directory / name).read_text()

    def _workers(self) -> list[int]:
        """Return processes that may be disturbed: separate workers and the supervisor's."""
        mine = [w.pid for w in self.free if w.poll() is None]
        return [*mine, *(pid for s in self.supervisors for pid in _children(s.pid))]

    def _at_work(self) -> set[int]:
        """Return the processes that have begun an epoch and have thus finished their start."""
        lines = (self.directory / "journal.txt").read_text().splitlines()
        return {int(line.split()[-1]) for line in lines}

    def _disturb(self) -> None:
        alive = [w for w in self.free if w.poll() is None]
        if len(alive) < self.size.free_workers:
            self.free.append(self._start("worker", f"free-{len(self.free)}.log"))
        (kind,) = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if kind == "database":
            self._take_database_away()
        elif kind == "behead":
            self._behead()
        elif kind == "remove":
            self._remove()
        elif workers := self._workers():
            busy = sorted(set(workers) & self._at_work())
            likely = busy if busy and self.rng.random() < 0.8 else sorted(workers)
            self._hit(kind, self.rng.choice(likely))

    def _hit(self, kind: str, pid: int) -> None:
        now = time.monotonic()
        self.done.append(Disturbance(kind, pid))
        if kind == "kill":
            _signal(pid, signal.SIGKILL)
        elif kind == "terminate":
            _signal(pid, signal.SIGTERM)
        elif kind == "fill":
            self.full[pid] = now + self.rng.uniform(0.3, 2)
            _limit(pid, objective.BULK // 2)
        else:
            long = kind == "pause"
            self.paused[pid] = now + self.rng.uniform(*(1.2, 2) if long else (0.05, 0.5)) * GRACE
            _signal(pid, signal.SIGSTOP)

    def _behead(self) -> None:
        """Kill the supervisor; its workers must notice and exit by themselves."""
        self.done.append(Disturbance("behead", self.supervisors[-1].pid))
        self.supervisors[-1].kill()
        self.supervisors[-1].wait()
        self._supervise()

    def _remove(self) -> None:
        """Remove the database; all must exit with the reason, and are restarted later."""
        at_work, free = self._at_work(), [w for w in self.free if w.poll() is None]
        led = _children(self.supervisors[-1].pid)
        if not (at_work.issuperset(w.pid for w in free) and at_work.intersection(led)):
            return  # who is about to start would begin a study of its own
        if self.weather is not None:
            self.weather.join()
        self._relieve(all_=True)
        if (how := self.backend.remove(self.rng)) is None:
            return
        self.done += [Disturbance("remove", pid, how) for pid in (*led, *(w.pid for w in free))]
        for process in (self.supervisors[-1], *free):
            process.wait(timeout=120)
        said = self._log(f"tune-{len(self.supervisors) - 1}.log")
        assert self.supervisors[-1].returncode == 1, said
        assert f"was {how} while it was in use; hint: move" in said, said
        self.backend.restore()
        self._supervise()

    def _take_database_away(self) -> None:
        """Make the database unavailable during other faults, but not twice at once."""
        if self.weather is not None and self.weather.is_alive():
            return
        disturbance = Disturbance("database", 0)
        self.done.append(disturbance)
        rng = random.Random(self.rng.random())

        def away() -> None:
            disturbance.note = self.backend.disturb(rng)

        self.weather = threading.Thread(target=away)
        self.weather.start()

    def _relieve(self, *, all_: bool = False) -> None:
        """Continue paused processes, and empty full disks, after long enough."""
        now = time.monotonic()
        for pid in [pid for pid, until in self.paused.items() if all_ or until < now]:
            del self.paused[pid]
            _signal(pid, signal.SIGCONT)
        for pid in [pid for pid, until in self.full.items() if all_ or until < now]:
            del self.full[pid]
            _limit(pid, resource.RLIM_INFINITY)

    def _calm(self) -> None:
        self._relieve(all_=True)
        if self.weather is not None:
            self.weather.join()
        self._supervised()
        for process in (self.supervisors[-1], *self.free):
            process.wait(timeout=300)


def lay_out(directory: Path) -> None:
    """Create a user's project: a configuration and the module that it names."""
    for name, text in CONF.items():
        path = directory / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(objective.__file__, directory / "mine.py")
    shutil.copy(Path(__file__).with_name("engine.py"), directory)  # imported there alone


def overrides(url: str, size: Size) -> list[str]:
    """Return the command line that all workers share."""
    return [
        "--config-dir=conf",
        "objective=mine",
        "space=mine",
        "sampler=random",
        f"storage.url='{url}'",
        f"study.n_trials={size.n_trials}",
        f"objective.epochs={size.epochs}",
        f"objective.seconds={size.epoch_seconds}",
        "worker.heartbeat=0.3",
        f"worker.grace={GRACE}",
        "worker.max_retries=1000",
        "launch.workers=2",
        "launch.max_restarts=1000",
        "storage.patience=120",
        f"worker.concurrency={size.concurrency}",
        *size.pruner,
        *([] if size.turn is None else ["launch=turns", f"worker.turn={size.turn}"]),
    ]


def _children(pid: int) -> list[int]:
    try:
        return [int(k) for k in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _limit(pid: int, size: int) -> None:
    """Return the maximum file size of a process."""
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
