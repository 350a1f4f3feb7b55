"""``tuner report``: the report of a study as a file."""

import argparse

from tuner.api import reports
from tuner.cli.study_views import open_view
from tuner.log import say


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path to stdout."""
    form = args.format or reports.form_of(args.output, "--output")
    view = open_view(args)
    directory = view.location.directory
    output = args.output or directory / f"report.{form}"
    say(str(reports.write(view.load(), output, directory, form, "--output", view.commands)))
    return 0
