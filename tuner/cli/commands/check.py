"""``tuner check``: validate a command without running anything."""

import argparse

from tuner.cli import context
from tuner.errors import TunerError
from tuner.log import say
from tuner.report.terminal import check as checking
from tuner.report.terminal import screen


def run(args: argparse.Namespace) -> int:
    """Validate the command and print what would run; with ``--json``, print errors as well."""
    try:
        plan, _, launch = context.launched(args)
    except TunerError as error:
        if not args.json:
            raise
        say(checking.refused(error.mistakes))
        return error.exit_code
    if args.config:
        say(plan.base_text.rstrip("\n"))
    elif args.json:
        say(checking.as_json(plan, launch))
    else:
        say(checking.as_text(plan, launch, screen.width(screen.console())))
    return 0
