"""Find the study that a command looks at: by its name alone, or by a composed configuration."""

import argparse

from tuner import log
from tuner.cli.view import View
from tuner.study import location


def look(args: argparse.Namespace, *, compose: bool = False) -> View:
    """Return the study that a command line names, which may not exist.

    A configuration is composed only if the command line has overrides or options for one, or
    ``compose`` is set because the command needs the plan.
    """
    log.to_stderr()
    given, others = location.places(args.overrides)
    composed = compose or others or args.config_dir or args.config_name or args.app
    if args.study is not None and not composed:
        return View(args, location.named(args.study, given))
    from tuner.cli import context  # imports Hydra, which takes longer than all else done here

    return context.planned_view(args)
