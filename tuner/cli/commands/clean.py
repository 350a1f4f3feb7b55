"""``tuner clean``: what studies hold on disk, and what of it nothing needs."""

import argparse
from collections.abc import Iterator

from tuner.cli.confirm import confirmed
from tuner.cli.look import look
from tuner.config import directories
from tuner.errors import StudyError
from tuner.log import log, say
from tuner.report.terminal import screen
from tuner.report.terminal.trials import as_size
from tuner.report.terminal.view import columns
from tuner.storage import database
from tuner.study import disk, run_files
from tuner.study import study as studies
from tuner.study.disk import Held


def run(args: argparse.Namespace) -> int:
    """Show the sizes of studies, and remove the checkpoints of their ended trials."""
    found = dict(_held(args))
    titles = ("study", "on disk", "checkpoints", "to remove", "directory")
    rows = [
        (name, as_size(h.total), as_size(h.checkpoints), as_size(h.spent_size), str(h.directory))
        for name, h in found.items()
    ]
    screen.console().print(columns(titles, rows) if rows else "no study yet")
    size = as_size(sum(held.spent_size for held in found.values()))
    count = sum(held.spent_trials for held in found.values())
    if args.dry_run or not count:
        return 0
    if not confirmed(f"remove {size} of checkpoints of {count} ended trials?", yes=args.yes):
        say("nothing was removed")
        return 1
    for held in found.values():
        run_files.remove(held.spent)
    say(f"removed {size} of checkpoints of {count} ended trials")
    return 0


def _held(args: argparse.Namespace) -> Iterator[tuple[str, Held]]:
    """Yield what the studies hold; those that are damaged, or name no directory, hold nothing."""
    first = look(argparse.Namespace(**{**vars(args), "study": args.study or "_"}))
    if args.study is not None:
        yield args.study, disk.held(first.load(), first.location.directory, args.keep)
        return
    for name in studies.names(database.connect(first.location.url, write=False)):
        if directories.misnamed("", name):
            continue
        place = look(argparse.Namespace(**{**vars(args), "study": name})).location
        try:
            yield name, disk.held(place.load(), place.directory, args.keep)
        except StudyError as error:  # the others are shown
            log.warning("%s", error)
