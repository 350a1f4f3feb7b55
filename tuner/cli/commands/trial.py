"""``tuner trial``: one trial with all details."""

import argparse

from tuner.cli.study_views import open_view
from tuner.errors import TunerError
from tuner.log import say
from tuner.report import formatting, trial_table
from tuner.report.configurations import Row
from tuner.report.summary import Summary
from tuner.report.terminal import screen, trials
from tuner.report.terminal import status as state


def run(args: argparse.Namespace) -> int:
    """Print a trial, as text or JSON."""
    view = open_view(args)
    summary = state.summary_of(view.load())
    row = _numbered(summary, args.number)
    directory = view.location.directory
    if args.json:
        known = trial_table.record(summary, row, directory, view.repeats.known)
        say(formatting.as_json({**known, "curve": row.curve, "traceback": row.traceback}))
        return 0
    again = "" if view.plan is None else view.train_line(row)
    screen.console().print(trials.details(summary, row, directory, again))
    return 0


def _numbered(summary: Summary, number: int) -> Row:
    for row in summary.rows:
        if row.number == number:
            return row
    told = f"study {summary.name!r} has no trial {number} (got {summary.tally or 'none'})"
    raise TunerError(
        told, hint="tuner trials lists all numbers; a retry keeps the number of its trial"
    )
