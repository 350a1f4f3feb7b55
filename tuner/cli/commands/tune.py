"""``tuner tune``: create or resume a study, and run its workers."""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from tuner.cli import context
from tuner.config import resolvers
from tuner.errors import StorageError, TunerError
from tuner.launch.base import Job, Order
from tuner.log import log, say
from tuner.report.analysis import pruning_errors
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary
from tuner.report.terminal import live, status, view
from tuner.report.write import write_page
from tuner.study import create, limits
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.signals import Heard, listening
from tuner.worker.tracking import base
from tuner.worker.tracking.factory import build_tracker

LEAVE_WITHIN = 60.0
"""Seconds that workers have to checkpoint and exit before they are killed."""


def run(args: argparse.Namespace) -> int:
    """Create or resume the study, supervise its workers, and end with table and report."""
    plan, launcher, described = context.launched(args)
    study = create.open_study(plan)
    directory = Path(plan.study.dir)
    budget = limits.budget(plan)
    if reason := study.ended(budget):
        log.info("study %r is finished (%s); a larger budget goes on with it", study.name, reason)
        return _close(plan, study, args)
    joining = ["worker", f"--join={study.uid}", *plan.source.argv(), *plan.overrides]
    command = [sys.executable, "-m", "tuner", *joining]
    base.prepare(build_tracker(plan.cfg))
    _tell_of_others(study, described)
    name = f"{study.name}-{str(study.uid)[:8]}"
    job = launcher.start(Order(command, directory / "logs", partial(_expire, study), name))
    log.info("study %r: %s", study.name, job.where)
    if launcher.detach:
        args.overrides = [o for o in args.overrides if not o.startswith("launch.detach=")]
        say(f"status:    {context.same(args, 'status')}")
        say(f"watch:     {context.same(args, 'tune')} launch.detach=false")
        return 0
    with forwarding(job) as stop:
        live.follow(
            lambda: status.look(study),
            stop.look_after,
            console=context.console(stderr=True),
            n_trials=budget.n_trials,
            epochs=resolvers.epochs(plan.cfg),
        )
    if stop.signal is not None:
        _show(plan, study, args)
        log.warning("interrupted; the same command goes on with the study")
        return 128 + stop.signal
    _close(plan, study, args, job.failure)
    if reason := study.ended(budget):
        log.info("the search has ended: %s", reason)
        if paused := study.unfinished():
            log.info("paused: %d configurations; a larger budget goes on with them", paused)
    return 0


def _expire(study: Study, worker: str) -> bool:
    """Expire a worker, see ``Study.expire``; without a database its lease expires by itself."""
    try:
        return study.expire(worker)
    except StorageError as error:
        log.warning("%s", error)
        return True


class Stop:
    """Ends a job when this process is asked to, and acknowledges that at once.

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
                        "ended at once: trials go on from their checkpoints, if there are any"
                    )

    def _end(self, number: int) -> None:
        self.signal, self.at = number, time.monotonic()
        log.warning(
            "stopping: the workers save their trials and queue them again, for up to %.0f s; "
            "a second Ctrl-C ends them at once",
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


def _tell_of_others(study: Study, described: str) -> None:
    """Report workers of an earlier command or another machine, which are joined, not replaced."""
    log.info("study %r: %s", study.name, described)
    hosts = Counter(w.host for w in study.workers() if w.alive)
    if hosts:
        there = ", ".join(f"{n} on {host}" for host, n in sorted(hosts.items()))
        log.info("workers at this study already: %s", there)


def _close(plan: Plan, study: Study, args: argparse.Namespace, failure: str | None = None) -> int:
    """Show the results; raise ``TunerError`` for a failure or a search without any value."""
    found = _show(plan, study, args)
    if wrong := [each for each in (failure, context.in_vain(args, plan, found)) if each]:
        raise TunerError("\n".join(map(str, wrong)))
    return 0


def _show(plan: Plan, study: Study, args: argparse.Namespace) -> Summary:
    """Show the table, write the report, and print the next commands."""
    found = study.patience(lambda: status.look(study))
    output, repeats = Path(plan.study.dir) / "report.html", Repeats(plan)
    written = study.patience(
        lambda: write_page(study.optuna, output, summary=found, repeats=repeats)
    )
    if found.best is None:
        say(f"no configuration was completed: {found.tally or 'none was begun'}")
        say(f"report:    {written}")
        return found
    context.console().print(view.closing(found))
    say(f"tried:     {len(found.rows)}: {found.tally}")
    if told := pruning_errors.line(found):
        say(f"pruning:   {told}")
    say(f"best:      {context.train_line(args, plan, found.best)}")
    say(f"report:    {written}")
    say(f"final:     {context.same(args, 'final')}")
    say(f"dashboard: {context.same(args, 'dashboard')}")
    return found
