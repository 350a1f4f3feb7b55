"""``tuner clean``: show the disk space of studies, and remove checkpoints of finished trials."""

import argparse
from collections.abc import Iterator

from tuner.cli.confirm import confirmed
from tuner.cli.study_views import open_named_view
from tuner.config import directories
from tuner.errors import StudyError
from tuner.log import log, say
from tuner.report import formatting
from tuner.report.analysis import pareto
from tuner.report.terminal import screen
from tuner.report.terminal import status as state
from tuner.report.terminal.view import columns
from tuner.storage import database
from tuner.study import disk, run_files
from tuner.study import study as studies
from tuner.study.disk import Held
from tuner.study.location import Location


def run(args: argparse.Namespace) -> int:
    """Show the sizes of studies, and remove the checkpoints of their finished trials."""
    found = dict(_held(args))
    titles = ("study", "on disk", "checkpoints", "to remove", "directory")
    rows = [
        (name, *map(formatting.size, (h.total, h.checkpoints, h.spent_size)), str(h.directory))
        for name, h in found.items()
    ]
    screen.console().print(columns(titles, rows) if rows else "no study yet")
    size = formatting.size(sum(held.spent_size for held in found.values()))
    count = sum(held.spent_trials for held in found.values())
    if args.dry_run or not count:
        return 0
    if not confirmed(f"remove the checkpoints of {count} finished trials ({size})?", yes=args.yes):
        say("nothing was removed")
        return 1
    for held in found.values():
        run_files.remove(held.spent)
    say(f"removed the checkpoints of {count} finished trials ({size})")
    return 0


def _held(args: argparse.Namespace) -> Iterator[tuple[str, Held]]:
    """Yield the disk usage of each study; none for those that are damaged or have no directory."""
    first = open_named_view(args, args.study or "_")
    if args.study is not None:
        yield args.study, _of(first.location, args.keep)
        return
    for name in studies.names(database.connect(first.location.url, write=False)):
        if directories.misnamed("", name):
            continue
        place = open_named_view(args, name).location
        try:
            yield name, _of(place, args.keep)
        except StudyError as error:  # the others are shown
            log.warning("%s", error)


def _of(place: Location, keep: int) -> Held:
    """Return the disk usage of a study; the best ``keep``, or the front, keep their checkpoints."""
    study = place.load()
    summary = state.summary_of(study)
    best = pareto.front(summary) if keep and len(summary.objectives) > 1 else summary.ranking[:keep]
    return disk.held(study, place.directory, {row.number for row in best})
