"""One worker: signals, heartbeat, the loop over trials, and its end."""

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.config import resolvers
from tuner.config.targets import signature
from tuner.environment import DEVICE, REPLACES, SHARED, SUPERVISOR, WORKER, device_lock
from tuner.errors import TooManyFailures
from tuner.log import brief, log
from tuner.storage.reason_kind import Kind
from tuner.study import create, limits, next_trial
from tuner.study.attempts import kind
from tuner.study.budget import Budget
from tuner.study.next_trial import Queue
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.study.work_time import Shift
from tuner.worker import random_state
from tuner.worker.heartbeat import UNUSABLE, Heart
from tuner.worker.outcome import AttemptEnd
from tuner.worker.proposal import Proposer
from tuner.worker.reporter import Context
from tuner.worker.signals import Signals, captured, exit_now
from tuner.worker.trial import execute
from tuner.worker.turn import StartCost, limited

RESTART_ME = 75
"""Exit code (EX_TEMPFAIL) of a worker whose device broke: a new process can continue."""

CRASHED = 70
"""Exit code (EX_SOFTWARE) of a worker that failed outside of any objective."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Bounds in seconds of the pause between two requests of an idle worker for a trial."""

REASON = 200
"""Maximum number of characters of the last failure's reason when a worker stops."""


@dataclass(frozen=True)
class Jobs:
    """The data that the places of a worker share: queue, sampler and pruner; see ``work``."""

    queue: Queue
    breadth: int
    proposer: Proposer


def work(
    plan: Plan,
    study: Study,
    leave: Callable[[int], None] = exit_now,
    queue: Queue | None = None,
    breadth: int = 1,
) -> int:
    """Run trials until the budget is exhausted and none is left to resume; return the exit code.

    ``worker.concurrency`` trials run at once, each in a thread and with its own lease.

    Args:
        leave: Called with the number of a second signal.
        queue: Trials to run first, instead of the queue of the plan and its prior study.
        breadth: Maximum number of idle workers that stay while trials run elsewhere: one, to take
            over from a dying worker, or as many as the queue may then have items for.
    """
    queue = queue or next_trial.listed(study.patience(lambda: create.queue(plan, study)))
    # cuBLAS reads it only once, in the first trial, but a later trial may be the first one that has
    # to be deterministic. This takes 32 MiB of a GPU, PyTorch's default on Hopper; elsewhere 8 MiB.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    base = os.environ.get(WORKER) or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    if place := os.environ.get(REPLACES):
        study.expire(place)  # its trial is requeued at once
    count = plan.worker.concurrency
    jobs = Jobs(queue, breadth, Proposer(plan, study))
    with captured(leave) as signals, limited(plan.worker.turn, signals):
        if count == 1:
            return _serve(plan, study, jobs, base, signals)
        if "seed" not in signature(str(plan.cfg.objective._target_))[0]:
            log.warning(random_state.SHARED, count)
        # Threads of one process share its device like several processes.
        os.environ.setdefault(SHARED, device_lock(str(os.getpid())))
        with ThreadPoolExecutor(count, "tuner-trial") as pool:
            places = [
                pool.submit(_serve, plan, study, jobs, f"{base}.{k}", signals) for k in range(count)
            ]
            while not all(place.done() for place in places):
                time.sleep(0.1)  # signal handlers run in this thread
                if any(place.done() and place.exception() for place in places):
                    signals.received = signals.received or signal.SIGTERM
        codes = [place.result() for place in places]
    return RESTART_ME if RESTART_ME in codes else max(codes)


def _serve(plan: Plan, study: Study, jobs: Jobs, worker: str, signals: Signals) -> int:
    """Run one slot for trials: register, send heartbeats, and unregister at the end."""
    device = plan.worker.device or os.environ.get(DEVICE)
    named = _named(plan.worker.device)
    study.join(worker, named)
    budget = limits.budget(plan)
    shift = study.start(*_devices(plan, worker))
    supervisor = int(os.environ.get(SUPERVISOR, 0))
    heart = Heart(study, worker, plan.worker.heartbeat, signals, shift, supervisor)
    heart.start()
    context = Context(
        plan=plan,
        study=study,
        proposer=jobs.proposer,
        worker=worker,
        host=socket.gethostname(),
        device=device,
        named=named,
        budget=budget,
        preempted=lambda: signals.reason() or _time_over(budget, shift),
        lost=heart.is_lost,
        reported=StartCost(study, plan.worker.turn).reported,
    )
    try:
        code = _loop(context, jobs, heart, signals)
    except TooManyFailures:
        with suppress(*UNUSABLE):
            study.leases.leave(worker)  # it holds no trial any more: it gave up and is not lost
        raise
    except BaseException:
        with suppress(*UNUSABLE):  # the database may be the problem
            study.leases.expire(worker)  # its trial is resumed elsewhere, without a stale row
        raise
    finally:
        heart.stop()
    if code != RESTART_ME:
        study.patience(lambda: study.leases.leave(worker))
    return code


def _devices(plan: Plan, worker: str) -> tuple[str, int]:
    """Return the name and number of the devices of this process, the same for all that share them.

    A GPU that workers share counts once, and so does a machine's CPU.
    """
    name = os.environ.get(SHARED) or worker
    return f"{socket.gethostname()} {name}"[:255], resolvers.devices(plan.cfg)


def _named(asked: str | None) -> str:
    """Return the device's name among those of the machine; ``auto`` if none was chosen.

    A pinned GPU is cuda:0 only within its own process.
    """
    pinned, gpu = os.environ.get(DEVICE), os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"GPU {gpu}"[:64] if pinned and gpu and not asked else asked or pinned or "auto"


def _time_over(budget: Budget, shift: Shift) -> str | None:
    if not budget.timed:
        return None
    times = shift.times()
    return budget.time_over(times.hours, times.device_hours)


def _loop(context: Context, jobs: Jobs, heart: Heart, signals: Signals) -> int:
    study, plan, budget, queue = context.study, context.plan, context.budget, jobs.queue
    idle_since: float | None = None
    while signals.reason() is None:
        heart.check()
        trial_id = study.claim(
            context.worker, budget=budget, max_retries=plan.worker.max_retries, queue=queue
        )
        heart.renew()
        if trial_id is None:
            if reason := study.patience(lambda: study.ended(budget, queue)):
                log.info("the search has ended: %s", reason)
                return 0
            if _may_leave(study, context.worker, jobs.breadth):
                return 0
            now = time.monotonic()
            idle_since = now if idle_since is None else idle_since
            signals.wait(min(_pause(now - idle_since), plan.worker.heartbeat))
            continue
        idle_since = None
        end = execute(context, trial_id)
        if end is AttemptEnd.BROKEN_DEVICE:
            return RESTART_ME
        if end is AttemptEnd.FENCED:
            # Requeued by a worker that considered this one lost; if not, it must be done here.
            study.requeue(trial_id, "its worker gave it up")
        study.release(context.worker)
        if end is AttemptEnd.FAILED:
            check_failure_limit(plan, study)
    if signals.received is None:
        log.info("leaving: %s", signals.reason())
        return signals.code
    return 128 + signals.received


def _pause(idle: float) -> float:
    """Return the seconds to wait before requesting a trial again, after some idle seconds.

    The pause grows with the idle time: short at first, because other trials may end soon, and
    longer later, to save requests.
    """
    return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, idle / 10))


def _may_leave(study: Study, worker: str, breadth: int) -> bool:
    """Return whether this idle worker is no longer needed.

    While trials run elsewhere, ``breadth`` idle workers (the longest active ones) stay to take over
    those of a dying worker; the others free their devices.
    """
    idle = [w.id for w in study.patience(study.workers) if w.alive and w.trial_id is None]
    return bool(idle) and worker not in idle[:breadth]


def check_failure_limit(plan: Plan, study: Study) -> None:
    """Raise ``TooManyFailures`` if the objective fails too often to continue."""
    finished = [t for t in study.patience(study.attempts) if t.state.is_finished()]
    failed = [t for t in finished if t.state == TrialState.FAIL and kind(t) != Kind.SET_ASIDE]
    allowed = plan.worker.max_failure_rate * len(finished)
    if len(failed) >= plan.worker.min_failures and len(failed) > allowed:
        last = brief(failed[-1].user_attrs.get("reason", ""), REASON)
        raise TooManyFailures(
            "too many configurations fail, more than "
            f"worker.max_failure_rate={plan.worker.max_failure_rate:g} of "
            f"them; the last: {last}",
            hint="run tuner train with its overrides to see the complete traceback",
        )
