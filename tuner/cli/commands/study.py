"""``tuner study``: list, rename, delete and copy studies."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tuner.cli.confirm import confirmed
from tuner.cli.study_views import loaded, open_named_view
from tuner.config import directories
from tuner.errors import StudyError
from tuner.log import log, say
from tuner.report import formatting
from tuner.report.summary import Summary
from tuner.report.terminal import screen
from tuner.report.terminal import status as state
from tuner.storage import database, urls
from tuner.storage.trial_storage import Trials
from tuner.study import administration, disk, run_files
from tuner.study import study as studies
from tuner.study.location import Location


def run(args: argparse.Namespace) -> int:
    """Run the action ``args.action``."""
    return ACTIONS[args.action](args)


def _located(args: argparse.Namespace, name: str) -> Location:
    """Return the location of a study; a study without a directory has no files."""
    return open_named_view(args, name if not directories.misnamed("", name) else "_").location


def _opened(place: Location) -> Trials:
    return database.connect(place.url, create=False)


def _list(args: argparse.Namespace) -> int:
    found = [state.summary_of(study) for study in loaded(_located(args, "_"))]
    if args.json:
        say(formatting.as_json([_listed(summary) for summary in found]))
    else:
        screen.console().print(state.overview(found) if found else "no study yet")
    return 0


def _listed(summary: Summary) -> dict[str, object]:
    return {
        "study": summary.name,
        "metric": summary.metric,
        "best": summary.best.value if summary.best else None,
        "counts": summary.counts,
        "workers": len(summary.workers),
    }


def _rename(args: argparse.Namespace) -> int:
    old, new = args.words
    place = _located(args, old)
    to = place.directory.with_name(new) if not directories.misnamed("", new) else None
    move = (place.directory, to) if to and place.directory.name == old else None
    moved = administration.rename(_opened(place), old, new, grace=place.grace, move=move)
    say(f"renamed study {old!r} to {new!r}" + f"; its files are in {to}" * moved)
    if not moved:
        log.info("no files were renamed: %s", _why(place.directory, old))
    return 0


def _why(directory: Path, name: str) -> str:
    if directory.name == name:
        return f"{directory} does not exist on this machine; hint: rename it where it exists"
    return f"{directory} is not named after the study"


def _delete(args: argparse.Namespace) -> int:
    (name,) = args.words
    place = _located(args, name)
    storage = _opened(place)
    with administration.idle(storage, name, place.grace) as (_, study_id):
        pass  # raises errors before the user is asked
    count = storage.rdb.get_n_trials(study_id)
    files = [] if directories.misnamed("", name) else _files(place, name)
    size = formatting.size(sum(map(run_files.size, files)))
    with_files = f" and their files ({size})" if args.files else f" (their files, {size}, are kept)"
    final = " and its final" * (studies.name_of_final(name) in studies.names(storage))
    asked = f"delete study {name!r} with its {count} stored trials{final}"
    asked += f"{with_files if files else ''}?"
    if not confirmed(asked, yes=args.yes):
        say("nothing was deleted")
        return 1
    administration.delete(storage, name, grace=place.grace)
    if args.files:
        _remove(files, place.directory)
    say(f"deleted study {name!r}" + f" and its files ({size})" * bool(args.files and files))
    if place.directory.is_dir():
        log.info("%s is kept%s", place.directory, ", with reports and logs" * args.files)
    return 0


def _files(place: Location, name: str) -> list[Path]:
    try:
        study = studies.load(place.url, name, grace=place.grace, patience=place.patience)
    except StudyError:  # a damaged study can be deleted as well
        return []
    return disk.files(study, place.directory, place.artifacts)


def _remove(files: list[Path], directory: Path) -> None:
    """Remove files of trials, and directories that are empty afterwards."""
    run_files.remove(files)
    for emptied in (directory / "trials", directory):
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def _copy(args: argparse.Namespace) -> int:
    name, url = args.words
    place = _located(args, name)
    source = database.connect(place.url, write=False)
    administration.id_of(source, name)  # raises before a file is created for the copy
    copied = administration.copy(source, name, database.connect(url))
    say(f"copied study {name!r} with {copied.trials} trials to {urls.masked(url)}")
    if copied.running:
        log.info(
            "%d of them are running: the first worker of the copy requeues them", copied.running
        )
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list, "rename": _rename, "delete": _delete, "copy": _copy,
}  # fmt: skip
