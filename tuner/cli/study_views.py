"""Find the studies that a command looks at: by name alone, or by a composed configuration."""

import argparse
from collections.abc import Iterator
from dataclasses import replace

from tuner import log
from tuner.cli.view import View
from tuner.errors import StudyError
from tuner.storage import database
from tuner.study import location, study
from tuner.study.location import Location


def open_view(args: argparse.Namespace, *, compose: bool = False) -> View:
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


def open_named_view(args: argparse.Namespace, name: str) -> View:
    """Return the study of a name in the place of the one that the command line names."""
    return open_view(argparse.Namespace(**{**vars(args), "study": name}))


def loaded(place: Location) -> Iterator[study.Study]:
    """Yield all studies of a database; a damaged one is logged, so that the others are shown."""
    for name in study.names(database.connect(place.url, write=False)):
        try:
            found = replace(place, name=name).load()
        except StudyError as error:
            log.log.warning("%s", error)
        else:
            yield found
