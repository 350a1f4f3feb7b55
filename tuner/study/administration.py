"""Rename, delete and copy studies; studies with live workers are not renamed or deleted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tuner.config.directories import misnamed
from tuner.errors import StudyError, StudyMissing
from tuner.log import first
from tuner.storage import study_rows, urls
from tuner.storage.shapes import decoded
from tuner.storage.tables import heartbeats, study_attributes, trials, user_attributes
from tuner.storage.trial_storage import Trials
from tuner.study.leases import Leases, Worker
from tuner.study.study import clear_tables, create_tables, listed, name_of_final, names

SHOWN = 5
"""Maximum number of live workers that an error names."""


@dataclass(frozen=True)
class Copied:
    """The size of a copied study."""

    trials: int
    running: int
    """Trials that were running: the first worker to join the copy requeues them."""


def rename(
    storage: Trials, name: str, new: str, *, grace: float, move: tuple[Path, Path] | None = None
) -> bool:
    """Rename a study, its final, and its directory if that has the study's name.

    Stored run directories below the old directory are changed as well, all in one transaction. If
    this machine does not have the old directory, neither is changed.

    Args:
        grace: Seconds without a heartbeat after which a worker is lost.
        move: The study's directory by its old and its new name.

    Returns:
        Whether a directory was moved.

    Raises:
        StudyError: There is no such study, it has live workers, or the new name cannot be used.
    """
    if found := misnamed("", new):
        raise StudyError(found)
    _refuse_existing(storage, new)
    old_dir, new_dir = move if move and move[0].is_dir() else (None, None)
    if new_dir is not None and (new_dir.exists() or new_dir.is_symlink()):
        hint = "move it, or choose another name"
        raise StudyError(f"the new directory {new_dir} already exists", hint=hint)
    moved, final = False, _id_of_final(storage, name, grace)
    try:
        with idle(storage, name, grace) as (connection, study_id):
            renamed = {study_id: new} | ({} if final is None else {final: name_of_final(new)})
            for each, called in renamed.items():
                study_rows.rename(connection, each, called)
            if old_dir is not None and new_dir is not None:
                for each in renamed:
                    _change_paths(connection, each, old_dir, new_dir)
                old_dir.rename(new_dir)
                moved = True
    except BaseException as error:
        if moved and old_dir is not None and new_dir is not None:
            new_dir.rename(old_dir)
        if isinstance(error, IntegrityError):  # created since the check
            _refuse_existing(storage, new)
        raise
    return moved


def delete(storage: Trials, name: str, *, grace: float) -> None:
    """Delete a study and its final from the database; their files remain.

    Raises:
        StudyError: There is no such study, or it has live workers.
    """
    with idle(storage, name, grace):
        pass  # otherwise nothing is deleted
    if (final := name_of_final(name)) in names(storage):
        delete(storage, final, grace=grace)
    with idle(storage, name, grace) as (connection, study_id):
        study_rows.delete(connection, study_id)
        clear_tables(connection, study_id)
    storage.reader.forget(study_id)
    storage.distributions.forget(study_id)


def copy(source: Trials, name: str, target: Trials) -> Copied:
    """Copy a study and its final to another database, with their names and uids.

    Everything in Optuna's tables is copied, including the attribute with the work times of
    ``tuner.study.work_time``. Leases are not copied, because no worker runs the copy.

    Raises:
        StudyError: There is no such study, or the target has one of this name.
    """
    study_id = id_of(source, name)
    _refuse_existing(target, name)
    create_tables(target)
    try:
        with source.dialect.snapshot(source.engine) as old, target.engine.begin() as new:
            new_id = study_rows.copy(old, study_id, new, name)
            clear_tables(new, new_id)
            if (final := name_of_final(name)) in names(source):
                clear_tables(new, study_rows.copy(old, id_of(source, final), new, final))
            states = new.scalars(sa.select(trials.c.state).filter_by(study_id=new_id)).all()
    except IntegrityError:
        _refuse_existing(target, name)
        raise
    return Copied(len(states), states.count(TrialState.RUNNING))


def _id_of_final(storage: Trials, name: str, grace: float) -> int | None:
    """Return the id of the study of a study's final, None if there is none.

    Raises:
        StudyError: It has live workers.
    """
    if (final := name_of_final(name)) not in names(storage):
        return None
    with idle(storage, final, grace) as (_, study_id):
        return study_id


def live(connection: Connection, leases: Leases) -> list[str]:
    """Describe the live workers of a study: tuner's, and Optuna's that send heartbeats."""
    found = [_told(worker) for worker in leases.rows(connection) if worker.alive]
    query = (
        sa.select(trials.c.number, heartbeats.c.heartbeat, sa.func.now())
        .join(heartbeats, heartbeats.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == leases.study_id, trials.c.state == TrialState.RUNNING)
    )
    for number, beat, now in connection.execute(query):
        if (now.replace(tzinfo=None) - beat).total_seconds() <= leases.grace:
            found.append(f"an Optuna worker with trial {number}")
    return found


def _told(worker: Worker) -> str:
    trial = "" if worker.trial_number is None else f" with trial {worker.trial_number}"
    return f"{worker.id} on {worker.host}, process {worker.pid},{trial}".rstrip(",")


@contextmanager
def idle(storage: Trials, name: str, grace: float) -> Iterator[tuple[Connection, int]]:
    """Lock a study without live workers, and yield a transaction and the study's id.

    Raises:
        StudyError: There is no such study, or it has live workers.
    """
    study_id = id_of(storage, name)
    create_tables(storage)
    leases = Leases(storage, study_id, grace)
    with storage.dialect.lock(storage.engine, name), storage.locked(study_id) as connection:
        if working := live(connection, leases):
            raise StudyError(
                f"study {name!r} has active workers: {first(working, SHOWN, '; ')}",
                hint="stop them with Ctrl-C in tuner tune or SIGTERM; a killed worker counts"
                f" as active for {grace:g} s",
            )
        yield connection, study_id


def id_of(storage: Trials, name: str) -> int:
    """Return the id of a study.

    Raises:
        StudyMissing: There is no study of this name; the message lists the existing ones.
    """
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        told = f"{_shown(storage)} has no study {name!r}"
        raise StudyMissing(told, hint=f"it has {listed(name, names(storage))}") from None


def _refuse_existing(storage: Trials, name: str) -> None:
    if name in names(storage):
        told = f"{_shown(storage)} already has a study {name!r}"
        raise StudyError(told, hint="tuner study rename can rename one of them")


def _shown(storage: Trials) -> str:
    return urls.masked(storage.engine.url.render_as_string(hide_password=False))


def _change_paths(connection: Connection, study_id: int, old: Path, new: Path) -> None:
    """Change stored paths of a study and its trials that are below ``old``."""
    mine = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    for table, chosen in (
        (study_attributes, sa.and_(study_attributes.c.study_id == study_id,
                                   study_attributes.c.key == "study_dir")),
        (user_attributes, sa.and_(user_attributes.c.trial_id.in_(mine),
                                  user_attributes.c.key == "run_dir")),
    ):  # fmt: skip
        (key,) = table.primary_key.columns
        for row, text in connection.execute(sa.select(key, table.c.value_json).where(chosen)).all():
            if (path := _moved(decoded(text), old, new)) is not None:
                change = sa.update(table).where(key == row).values(value_json=json.dumps(path))
                connection.execute(change)


def _moved(stored: object, old: Path, new: Path) -> str | None:
    """Return a stored path with ``old`` replaced by ``new``; None if it is not below ``old``."""
    if not isinstance(stored, str) or not Path(stored).is_relative_to(old):
        return None
    return str(new / Path(stored).relative_to(old))
