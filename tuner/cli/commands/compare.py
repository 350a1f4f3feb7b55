"""``tuner compare``: two studies side by side."""

import argparse
from pathlib import Path

from tuner.cli.study_views import open_named_view
from tuner.config import directories
from tuner.files import replace
from tuner.log import say
from tuner.report.html.comparison import page
from tuner.report.terminal import screen
from tuner.report.terminal import status as state
from tuner.report.terminal.comparison import side_by_side


def run(args: argparse.Namespace) -> int:
    """Print the results and the differences of two studies, and write them as an HTML page."""
    one, other = (open_named_view(args, name) for name in args.words)
    summaries = [state.summary_of(found.load()) for found in (one, other)]
    default: Path = one.location.directory / f"compare-{other.location.name}.html"
    output = args.output or default
    directories.check_output(output, "--output")
    screen.console().print(side_by_side(*summaries))
    replace(output, page(*summaries))
    say(f"page: {output}")
    return 0
