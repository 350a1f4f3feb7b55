"""``tuner worker``: one worker of a study, on this machine."""

import argparse
import os
from contextlib import nullcontext

from tuner.api import in_process
from tuner.cli import context
from tuner.environment import SUPERVISOR, WORKER
from tuner.errors import TunerError
from tuner.log import log
from tuner.report.terminal import status
from tuner.storage import outages
from tuner.storage.retry import Patience
from tuner.study import create
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.loop import CRASHED, work


def run(args: argparse.Namespace) -> int:
    """Run one worker without repeating the supervisor's checks, which take a second."""
    plan = context.planned(args, judge=SUPERVISOR not in os.environ)
    patience = Patience(plan.storage.patience)

    def enter() -> Study:
        return create.join_study(plan, args.join) if args.join else create.open_study(plan)

    study = patience(enter)  # it may start beside a restarting server
    try:
        with nullcontext() if SUPERVISOR in os.environ else in_process.shown(plan, study):
            code = work(plan, study)
        if code == 0 and WORKER not in os.environ:  # a launcher reports it once for all
            _require_value(plan, study, args)
        return code
    except TunerError:
        raise
    except Exception as error:
        if outages.is_ours(error):
            raise outages.lost(error) from error
        log.exception("the worker itself failed")
        return CRASHED


def _require_value(plan: Plan, study: Study, args: argparse.Namespace) -> None:
    """Raise ``TunerError`` if a finished search gave no value at all."""
    if wrong := context.in_vain(args, plan, study.patience(lambda: status.look(study))):
        raise TunerError([wrong])
