"""Find the study that a command looks at: by its name alone, or by a composed configuration."""

import argparse
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner import log
from tuner.study import location
from tuner.study.location import Location
from tuner.study.study import Study

if TYPE_CHECKING:
    from tuner.study.plan import Plan

PLAIN = re.compile(r"([\w.]+)=([./]*[A-Za-z][\w./:+@-]*)", re.ASCII)
"""An override whose value Hydra reads as this very text, but for words such as ``null``."""


@dataclass(frozen=True)
class Look:
    """A study to look at, which may not exist."""

    location: Location
    plan: "Plan | None"
    """The plan of its search; None if it was given by its name alone."""

    def load(self) -> Study:
        """Load the study, which must exist, for reading."""
        return self.location.load()


def look(args: argparse.Namespace, *, compose: bool = False) -> Look:
    """Return the study that a command line names.

    A configuration is composed only if the command line has overrides or options for one, or
    ``compose`` is set because the command needs the plan.
    """
    log.to_stderr()
    if args.study is not None and not compose and (given := _places(args)) is not None:
        return Look(location.named(args.study, given), None)
    # Hydra takes longer to import and to compose than all else that such a command does.
    plan = importlib.import_module("tuner.cli.context").readable(args)
    return Look(location.of(plan), plan)


def _places(args: argparse.Namespace) -> Mapping[str, str] | None:
    """Return the overrides of ``location.KEYS``; None if Hydra has to read the command line."""
    if args.config_dir or args.config_name or args.app:
        return None
    found = [PLAIN.fullmatch(text) for text in args.overrides]
    given = {match[1]: match[2] for match in found if match}
    words = {"null", "true", "false", "inf", "nan"} & {text.lower() for text in given.values()}
    return None if words or None in found or given.keys() - {*location.KEYS} else given
