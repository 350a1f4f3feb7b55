"""``tuner status``: workers, counts, pace and the best so far, of one study or of all."""

import argparse
import time

from tuner.cli.study_views import loaded, open_named_view, open_view
from tuner.errors import (
    StorageAway,
    StorageMissing,
    StudyMissing,
)
from tuner.log import log, say
from tuner.report.configurations import Repeat
from tuner.report.terminal import live
from tuner.report.terminal import status as state
from tuner.report.terminal.screen import console
from tuner.study.budget import Budget
from tuner.study.location import Location
from tuner.study.study import Study

WATCH_EVERY = 2.0
"""Seconds between two updates of ``status --watch``."""


def run(args: argparse.Namespace) -> int:
    """Show workers, counts, throughput, cost and the best trial, of one study or of all."""
    if args.all:
        return _overview(args)
    view = open_view(args)
    study = _awaited(view.location) if args.watch else view.load()
    repeat = view.repeats.known
    budget = state.budget_of(study)
    if not args.watch:
        ended = study.seems_ended(budget)
        seen = state.summary_of(study)
        if args.json:
            say(state.as_json(seen, budget, ended, repeat))
        else:
            screen = console()
            screen.print(state.as_picture(seen, budget, ended, width=screen.width))
        return 0
    if args.json:
        return _watch_as_json(study, budget, repeat)
    live.follow(
        lambda: state.summary_of(study),
        lambda: study.seems_ended(budget) is None,
        console=console(),
        n_trials=budget.n_trials,
        epochs=budget.length,
        every=WATCH_EVERY,
        whole=lambda seen, width, rows: state.as_picture(
            seen, budget, None, width=width, rows=rows
        ),
    )
    return 0


def _awaited(location: Location) -> Study:
    """Wait until the study exists.  The first reason to wait is logged, once."""
    told = False
    while True:
        try:
            study = location.load()
            if not told or "budget" in study.attrs:  # stored last when a study is created
                return study
        except (StorageAway, StorageMissing, StudyMissing) as error:
            if not told:
                log.warning("waiting for the study: %s", error)
            told = True
        time.sleep(WATCH_EVERY)


def _watch_as_json(study: Study, budget: Budget, repeat: Repeat) -> int:
    """Print a line whenever something has changed, until the study is finished."""
    before, ended = "", None
    while ended is None:
        ended = study.seems_ended(budget)
        line = state.as_json(state.summary_of(study), budget, ended, repeat)
        if line != before:
            say(line)
        before = line
        time.sleep(0 if ended else WATCH_EVERY)
    return 0


def _overview(args: argparse.Namespace) -> int:
    """Print every study of the database, one line each."""
    view = open_named_view(args, "_")  # any study: its database has all of them
    found = []
    for study in loaded(view.location):
        seen = state.summary_of(study)
        if args.json:
            budget = state.budget_of(study)
            repeat = view.repeats.known
            say(state.as_json(seen, budget, study.seems_ended(budget), repeat))
        found.append(seen)
    if not args.json:
        console().print(state.overview(found) if found else "no study yet")
    return 0
