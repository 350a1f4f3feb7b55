"""``tuner trial``: one trial with all that is known of it."""

import argparse

from tuner.cli import context
from tuner.cli.look import look
from tuner.errors import TunerError
from tuner.log import say
from tuner.report import formatting, trial_table
from tuner.report.configurations import Row
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary
from tuner.report.terminal import status as state
from tuner.report.terminal import trials


def run(args: argparse.Namespace) -> int:
    """Print a trial, as text or JSON."""
    found = look(args)
    summary = state.look(found.load())
    row = _numbered(summary, args.number)
    directory, repeats = found.location.directory, Repeats(found.plan)
    if args.json:
        known = trial_table.record(summary, row, directory, repeats.known)
        say(formatting.as_json({**known, "curve": row.curve, "traceback": row.traceback}))
        return 0
    again = "" if found.plan is None else context.train_line(args, found.plan, row)
    context.console().print(trials.details(summary, row, directory, again))
    return 0


def _numbered(summary: Summary, number: int) -> Row:
    for row in summary.rows:
        if row.number == number:
            return row
    told = f"study {summary.name!r} has no trial {number} (got {summary.tally or 'none'})"
    raise TunerError(told, hint="tuner trials lists them; a retry has the number of its trial")
