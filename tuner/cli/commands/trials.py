"""``tuner trials``: all trials of a study."""

import argparse

from tuner.cli.study_views import open_view
from tuner.log import say
from tuner.report import formatting, trial_table
from tuner.report.terminal import screen, trials
from tuner.report.terminal import status as state


def run(args: argparse.Namespace) -> int:
    """Print the trials as a table, CSV or JSON."""
    view = open_view(args)
    summary = state.summary_of(view.load())
    rows = trial_table.select(summary, args.state or (), args.sort, reverse=args.reverse)
    directory, repeat = view.location.directory, view.repeats.known
    if args.csv or args.json:
        records = [trial_table.record(summary, row, directory, repeat) for row in rows]
        say(formatting.as_json(records) if args.json else trial_table.as_csv(records).rstrip())
        return 0
    console = screen.console()
    console.width = screen.width(console)
    console.print(trials.table(summary, rows))
    return 0
