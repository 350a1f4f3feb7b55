"""Start the workers of a study, follow them, and forward signals to them."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from tuner.config import resolvers
from tuner.errors import StorageError
from tuner.launch.base import Fork, Job, Launcher, Order
from tuner.log import log
from tuner.report.terminal import live, screen, status, trainings
from tuner.study import limits
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.signals import Heard, listening
from tuner.worker.tracking import base
from tuner.worker.tracking.factory import build_tracker

LEAVE_WITHIN = 60.0
"""Seconds that workers have to checkpoint and exit before they are killed."""


def start(
    plan: Plan, study: Study, launcher: Launcher, described: str, fork: Fork | None = None
) -> Job:
    """Start the workers of a study; ``described`` is the launcher's description of them."""
    final = ["--final"] * plan.closed
    joining = [*final, f"--join={study.uid}", *plan.source.argv(), *plan.overrides]
    command = [sys.executable, "-m", "tuner", "worker", *joining]
    base.prepare(build_tracker(plan.cfg))
    _tell_of_others(study, described)
    name = f"{study.name}-{str(study.uid)[:8]}"
    logs = Path(plan.study.dir) / "logs"
    turns = plan.worker.turn is not None
    order = Order(command, logs, partial(_expire, study), name, turns)
    job = launcher.start(order if fork is None else replace(order, fork=fork))
    log.info("study %r: %s", study.name, job.where)
    return job


def follow(plan: Plan, study: Study, job: Job) -> "Stop":
    """Show the study until its workers have ended; signals to this process end them."""
    with forwarding(job) as stop:
        live.follow(
            lambda: status.summary_of(study),
            stop.look_after,
            console=screen.console(stderr=True),
            n_trials=limits.budget(plan).n_trials,
            epochs=resolvers.epochs(plan.cfg),
            whole=trainings.drawn if plan.closed else None,
        )
    return stop


def _tell_of_others(study: Study, described: str) -> None:
    """Report workers of an earlier command or another machine, which are joined, not replaced."""
    log.info("study %r: %s", study.name, described)
    hosts = Counter(w.host for w in study.workers() if w.alive)
    if hosts:
        there = ", ".join(f"{n} on {host}" for host, n in sorted(hosts.items()))
        log.info("workers that already run this study: %s", there)


def _expire(study: Study, worker: str) -> bool:
    """Expire a worker, see ``Study.expire``; without a database, its lease expires by itself."""
    try:
        return study.expire(worker)
    except StorageError as error:
        log.warning("%s", error)
        return True


class Stop:
    """Ends a job when this process gets a signal, and acknowledges the signal immediately.

    Ending it takes locks that the main thread may hold, such as that of a ``Popen``.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.signal: int | None = None
        self.at = 0.0
        self.heard: Heard = SimpleQueue()
        self.turn = threading.Lock()

    def note(self, number: int, _frame: object) -> None:
        self.heard.put(number)

    def obey(self) -> None:
        """Act on signals until None is received."""
        while (number := self.heard.get()) is not None:
            with self.turn:
                if self.signal is None:
                    self._end(number)
                else:
                    self.job.kill()
                    log.warning(
                        "killed all workers; trials with a checkpoint will be resumed from it"
                    )

    def _end(self, number: int) -> None:
        self.signal, self.at = number, time.monotonic()
        log.warning(
            "stopping: waiting up to %.0f s for workers to checkpoint and requeue their trials; "
            "press Ctrl-C again to kill them",
            LEAVE_WITHIN,
        )
        self.job.stop(number)

    def look_after(self) -> bool:
        """Poll the job; kill workers that do not exit in time."""
        with self.turn:
            running = self.job.poll()
            if running and self.signal is not None and time.monotonic() > self.at + LEAVE_WITHIN:
                self.job.kill()
        return running


@contextmanager
def forwarding(job: Job) -> Iterator[Stop]:
    """Forward SIGINT and SIGTERM to the workers; a second one kills them."""
    stop = Stop(job)
    with listening(stop.note, stop.obey, stop.heard):
        yield stop
