"""Run the trials of a study in this process."""

import os
import signal
from contextlib import AbstractContextManager

from tuner.config import resolvers
from tuner.errors import Preempted, TunerError
from tuner.report.terminal import live, screen, status
from tuner.study import limits
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker import loop, signals


def run(plan: Plan, study: Study) -> None:
    """Run trials until the study has ended.

    After the first SIGINT or SIGTERM, the running trial continues to its next report; the second
    signal ends it at once. In both cases, it is requeued.

    Raises:
        KeyboardInterrupt: After SIGINT.
        TunerError: The device broke, or the objective fails too often.
    """
    try:
        with shown(plan, study):
            code = loop.work(plan, study, signals.preempt)
    except Preempted as stop:
        code = 128 + signal.Signals[str(stop)]
    if code == loop.RESTART_ME:
        raise TunerError(
            "the device is broken",
            hint="restart Python and repeat the call, which resumes the study",
        )
    if code:
        leave(code - 128, study)


def leave(number: int, study: Study) -> None:
    """Leave because of a signal, after the trials were requeued."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt(
            f"study {study.name!r} is interrupted; repeat the call to resume it"
        )
    os.kill(os.getpid(), number)


def shown(plan: Plan, study: Study) -> AbstractContextManager[None]:
    """Show the study during a block, on a terminal."""
    return live.beside(
        lambda: status.summary_of(study),
        console=screen.console(stderr=True),
        n_trials=limits.budget(plan).n_trials,
        epochs=resolvers.epochs(plan.cfg),
    )
