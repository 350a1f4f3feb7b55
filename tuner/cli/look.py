"""Find the study that a command looks at: by its name alone, or by a composed configuration."""

import argparse
import re
from collections.abc import Mapping

from tuner import log
from tuner.cli.view import View
from tuner.study import location

PLAIN = re.compile(r"([\w.]+)=([./]*[A-Za-z][\w./:+@-]*)", re.ASCII)
"""An override whose value Hydra reads as this very text, but for words such as ``null``."""


def look(args: argparse.Namespace, *, compose: bool = False) -> View:
    """Return the study that a command line names, which may not exist.

    A configuration is composed only if the command line has overrides or options for one, or
    ``compose`` is set because the command needs the plan.
    """
    log.to_stderr()
    if args.study is not None and not compose and (given := _places(args)) is not None:
        return View(args, location.named(args.study, given))
    from tuner.cli import context  # imports Hydra, which takes longer than all else done here

    return context.planned_view(args)


def _places(args: argparse.Namespace) -> Mapping[str, str] | None:
    """Return the overrides of ``location.KEYS``; None if Hydra has to read the command line."""
    if args.config_dir or args.config_name or args.app:
        return None
    found = [PLAIN.fullmatch(text) for text in args.overrides]
    given = {match[1]: match[2] for match in found if match}
    words = {"null", "true", "false", "inf", "nan"} & {text.lower() for text in given.values()}
    return None if words or None in found or given.keys() - {*location.KEYS} else given
