"""``tuner worker``: one worker of a study, on this machine."""

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from tuner.api import in_process
from tuner.api.waiting import Waiting
from tuner.cli import context
from tuner.environment import SUPERVISOR, WORKER
from tuner.errors import ConfigError, TunerError
from tuner.final.trainings import join_trainings
from tuner.log import log
from tuner.report.analysis import no_result
from tuner.report.terminal import status
from tuner.storage import outages
from tuner.storage.retry import Patience
from tuner.study import create, recorded
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker.loop import CRASHED, work


def run(args: argparse.Namespace) -> int:
    """Run one worker without repeating the supervisor's checks, which take a second."""
    if args.wait and args.final:
        told = "a worker that waits runs no trainings of tuner final"
        raise ConfigError(told, key="--wait", hint="leave out --final")
    plan = context.planned(args, validate=not (args.wait or SUPERVISOR in os.environ))
    patience = Patience(plan.storage.patience)
    # The study is entered patiently, because a worker may start beside a restarting server.
    if args.wait:
        plan, study = Waiting(context.source(args), args.overrides, plan).until_work()
        recorded.keep(plan)
        run_all: Callable[[], int] = partial(_search, plan, study, args)
    elif args.final:
        run_all = patience(lambda: join_trainings(plan, args.join)).work
    else:
        run_all = partial(_search, plan, patience(lambda: _entered(plan, args.join)), args)
    try:
        return run_all()
    except TunerError:
        raise
    except Exception as error:
        if outages.is_ours(error):
            raise outages.lost(error) from error
        log.exception("the worker failed outside of the objective")
        return CRASHED


def _entered(plan: Plan, uid: str | None) -> Study:
    if uid:
        return create.join_study(plan, uid)
    study = create.open_study(plan)
    recorded.keep(plan)
    return study


def _search(plan: Plan, study: Study, args: argparse.Namespace) -> int:
    """Run trials of the search."""
    with nullcontext() if SUPERVISOR in os.environ else in_process.shown(plan, study):
        code = work(plan, study)
    if (
        code == 0 and not args.wait and WORKER not in os.environ
    ):  # a launcher reports it once for all
        _require_value(plan, study, args)
    return code


def _require_value(plan: Plan, study: Study, args: argparse.Namespace) -> None:
    """Raise ``TunerError`` if a finished search has no value at all."""
    found = study.patience(lambda: status.summary_of(study))
    if wrong := no_result.explain(found, context.view_of(args, plan).again):
        raise TunerError([wrong])
