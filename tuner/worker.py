"""One worker: signals, signs of life, the loop over trials, and what ends it."""

import os
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from tuner import provenance, resolvers, search, seeds, sharing
from tuner.attempts import REQUEUE
from tuner.binding import signature
from tuner.budget import Budget
from tuner.clock import Shift
from tuner.errors import TooManyFailures
from tuner.fate import Fate
from tuner.log import brief, log
from tuner.plan import Plan
from tuner.reporter import Context
from tuner.sharing import SHARED
from tuner.signals import Signals, captured
from tuner.study import Study
from tuner.trial import execute

RESTART_ME = 75
"""Exit code (EX_TEMPFAIL) of a worker whose device broke: a new process can go on."""

CRASHED = 70
"""Exit code (EX_SOFTWARE) of a worker that failed outside of any objective."""

BOOKED_EVERY = 6
"""Beats between two bookings of the time worked: all workers of a study write one row."""

REASON = 200
"""Letters of the last failure's reason where a worker gives up."""

DEVICE = "TUNER_DEVICE"
SUPERVISOR = "TUNER_SUPERVISOR_PID"
WORKER = "TUNER_WORKER_ID"
REPLACES = "TUNER_REPLACES"
"""Id of a place whose earlier workers are gone, as a launcher on another machine knows."""


class Heart(threading.Thread):
    """Beats until stopped; a database that is away for a while does not kill it."""

    def __init__(
        self, study: Study, worker: str, interval: float, signals: Signals, shift: Shift
    ) -> None:
        super().__init__(name="tuner-heart", daemon=True)
        self.study, self.worker, self.interval, self.signals = study, worker, interval, signals
        self.shift = shift
        self.lost = False
        self.leases = 0
        self.tried = time.time()
        self.stopped = threading.Event()
        self.supervisor = int(os.environ.get(SUPERVISOR, 0))

    def run(self) -> None:
        beats = 0
        while not self.stopped.wait(self.interval):
            beats += 1
            if self.supervisor and os.getppid() != self.supervisor:
                log.warning("the supervisor is gone; leaving")
                self.supervisor = 0
                self.signals.received = self.signals.received or signal.SIGTERM
            self.beat()
            if beats % BOOKED_EVERY == 0:
                with suppress(SQLAlchemyError):  # the next time books this one too
                    self.shift.book()

    def beat(self) -> None:
        self.tried = time.time()
        lease = self.leases
        try:
            if not self.study.leases.beat(self.worker) and lease == self.leases:
                self.lost = True
        except SQLAlchemyError as error:
            log.warning("no sign of life could be given: %s", type(error).__name__)

    def is_lost(self) -> bool:
        """Whether the lease has run out; after a pause of this process it is asked at once."""
        if time.time() - self.tried > max(2 * self.interval, self.study.leases.grace / 2):
            self.beat()
        return self.lost

    def renew(self) -> None:
        """A new lease was taken: what a beat finds out about the one before no longer counts."""
        self.leases += 1
        self.lost = False

    def stop(self) -> None:
        self.stopped.set()
        self.join()
        with suppress(SQLAlchemyError):  # nothing but the last seconds is lost
            self.shift.book()


def work(plan: Plan, study: Study) -> int:
    """Run trials until the budget is spent and none is left to take over; the exit code.

    ``worker.concurrency`` trials run at once, each in a thread and under a lease of its own.
    """
    # cuBLAS reads it once, in the first trial, but a later one may be the first that has to be
    # deterministic.  That is 32 MiB of a GPU, PyTorch's default on Hopper; elsewhere it takes 8.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    base = os.environ.get(WORKER) or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    if place := os.environ.get(REPLACES):
        study.patience(lambda: study.leases.expire(place))  # what it held is requeued at once
    count = plan.worker.concurrency
    with captured() as signals:
        if count == 1:
            return _serve(plan, study, base, signals)
        if "seed" not in signature(str(plan.cfg.objective._target_))[0]:
            log.warning(seeds.SHARED, count)
        # Threads of one process share its device as several processes would.
        os.environ.setdefault(SHARED, sharing.place(str(os.getpid())))
        with ThreadPoolExecutor(count, "tuner-trial") as pool:
            places = [
                pool.submit(_serve, plan, study, f"{base}.{k}", signals) for k in range(count)
            ]
            while not all(place.done() for place in places):
                time.sleep(0.1)  # signal handlers run in this thread
                if any(place.done() and place.exception() for place in places):
                    signals.received = signals.received or signal.SIGTERM
        codes = [place.result() for place in places]
    return RESTART_ME if RESTART_ME in codes else max(codes)


def _serve(plan: Plan, study: Study, worker: str, signals: Signals) -> int:
    """One place for trials: joined, beating, and struck out at the end."""
    device = plan.worker.device or os.environ.get(DEVICE)
    named = _named(plan.worker.device)
    study.join(worker, named)
    budget = search.budget(plan)
    shift = study.patience(lambda: study.clock.start(*_devices(plan, worker)))
    heart = Heart(study, worker, plan.worker.heartbeat, signals, shift)
    heart.start()
    context = Context(
        plan=plan,
        study=study,
        worker=worker,
        host=socket.gethostname(),
        device=device,
        named=named,
        budget=budget,
        preempted=lambda: signals.reason() or _time_over(budget, shift),
        lost=heart.is_lost,
    )
    try:
        code = _loop(context, heart, signals)
    except TooManyFailures:
        with suppress(SQLAlchemyError):
            study.leases.leave(worker)  # it holds nothing by now: it gave up, and is not lost
        raise
    except BaseException:
        with suppress(SQLAlchemyError):  # the database may be what is wrong
            study.leases.expire(worker)  # what it holds goes on elsewhere, and it is no ghost
        raise
    finally:
        heart.stop()
    if code != RESTART_ME:
        study.patience(lambda: study.leases.leave(worker))
    return code


def _devices(plan: Plan, worker: str) -> tuple[str, int]:
    """What this process works on, by a name that those who share it have too, and how many.

    A GPU that workers share counts once, and so does a machine's CPU.
    """
    name = os.environ.get(SHARED) or worker
    return f"{socket.gethostname()} {name}"[:255], resolvers.devices(plan.cfg)


def _named(asked: str | None) -> str:
    """The device as people tell it from the others of the machine; ``auto`` if none was chosen.

    A GPU that is pinned is cuda:0 to its own process alone.
    """
    pinned, gpu = os.environ.get(DEVICE), os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"GPU {gpu}"[:64] if pinned and gpu and not asked else asked or pinned or "auto"


def _time_over(budget: Budget, shift: Shift) -> str | None:
    if not budget.timed:
        return None
    times = shift.times()
    return budget.time_over(times.hours, times.device_hours)


def _loop(context: Context, heart: Heart, signals: Signals) -> int:
    study, plan, budget = context.study, context.plan, context.budget
    queue = provenance.queue(plan, study)
    while signals.received is None:
        trial_id = study.claim(
            context.worker, budget=budget, max_retries=plan.worker.max_retries, queue=queue
        )
        heart.renew()
        if trial_id is None:
            if reason := study.patience(lambda: study.ended(budget)):
                log.info("the search has ended: %s", reason)
                return 0
            if _may_leave(study, context.worker):
                return 0
            signals.wait(min(1.0, plan.worker.heartbeat))
            continue
        fate = execute(context, trial_id)
        if fate is Fate.BROKEN_DEVICE:
            return RESTART_ME
        if fate is Fate.FENCED:
            # Whoever counted us as lost has requeued it; if nobody has, it must not be forgotten.
            study.requeue(trial_id, "its worker gave it up")
        study.release(context.worker)
        if fate is Fate.FAILED:
            _judge_failures(plan, study)
    return 128 + signals.received


def _may_leave(study: Study, worker: str) -> bool:
    """Whether nobody needs this idle worker.

    While trials run elsewhere, one idle worker (the longest at work) stays to take over what a
    dying one leaves; the others free their devices.
    """
    idle = [w.id for w in study.workers() if w.alive and w.trial_id is None]
    return bool(idle) and idle[0] != worker


def _judge_failures(plan: Plan, study: Study) -> None:
    """Raise ``TooManyFailures`` when the objective fails too often to go on."""
    finished = [
        t
        for t in study.optuna.get_trials(deepcopy=False)
        if t.state.is_finished() and REQUEUE not in t.system_attrs
    ]
    failed = [t for t in finished if t.state == TrialState.FAIL]
    rate = len(failed) / len(finished)
    if len(failed) >= plan.worker.min_failures and rate > plan.worker.max_failure_rate:
        last = brief(failed[-1].user_attrs.get("reason", ""), REASON)
        raise TooManyFailures(
            "too many configurations fail, more than "
            f"worker.max_failure_rate={plan.worker.max_failure_rate:g} of them; the last: {last}; "
            "hint: tuner train with its overrides shows the whole traceback"
        )
