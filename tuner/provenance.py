"""What a study keeps of the command that created it, and whether a resuming one still matches."""

import difflib
import importlib.metadata
import platform
import subprocess
import uuid
from typing import Any

from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from tuner import search, space, storage
from tuner.errors import StudyError
from tuner.log import log
from tuner.plan import Plan
from tuner.study import Study

PACKAGES = ("tuner", "torch", "torchvision", "optuna", "hydra-core", "sqlalchemy")


def open_study(plan: Plan) -> Study:
    """Create the study of a plan or resume it; ``StudyError`` if it is another study.

    Creating under the database's lock makes it safe for many workers to come at once.
    """
    rdb = storage.connect(plan.storage.url)
    name = plan.study.name
    with storage.lock(rdb.engine, name):
        _create(rdb, plan)
        study = Study(rdb, name, grace=plan.worker.grace, patience=plan.storage.patience)
        study.leases.create()
        _match(study, plan)
        if study.attrs.get("n_trials") != search.budget(plan):
            rdb.set_study_user_attr(study.id, "n_trials", search.budget(plan))
    return study


def _create(rdb: RDBStorage, plan: Plan) -> None:
    """Make the study if it is missing, or complete one whose creator died half-way."""
    attrs = _description(plan)
    direction = StudyDirection[plan.study.direction.upper()]
    known = {s.study_name: s._study_id for s in rdb.get_all_studies()}
    study_id = known.get(plan.study.name)
    if study_id is None:
        study_id = rdb.create_new_study([direction], plan.study.name)
    elif "space" in rdb.get_study_user_attrs(study_id) or rdb.get_n_trials(study_id):
        return
    rdb.set_study_system_attr(study_id, "study:metric_names", [plan.study.metric])
    for key, value in attrs.items():
        rdb.set_study_user_attr(study_id, key, value)


def _description(plan: Plan) -> dict[str, Any]:
    """What is stored with a study; ``space`` comes last and so marks a complete one."""
    return {
        "uid": uuid.uuid4().hex,
        "metric": plan.study.metric,
        "seed": plan.seed,
        "config": plan.base_text(),
        "overrides": list(plan.pins),
        "study_dir": plan.study.dir,
        "n_trials": search.budget(plan),
        "git_commit": _git_commit(),
        "versions": _versions(),
        "space": plan.space.rows(),
    }


def _match(study: Study, plan: Plan) -> None:
    """Refuse another space, metric, direction or seed; warn of what may have been meant."""
    stored = study.attrs
    name = plan.study.name
    if "space" not in stored:
        raise StudyError(
            f"study.name: {name!r} was not made by tuner; hint: choose another study.name"
        )
    direction = study.optuna.direction.name.lower()
    found = [
        f"{key}: the study has {old!r}, asked was {new!r}"
        for key, old, new in (
            ("study.metric", stored["metric"], plan.study.metric),
            ("study.direction", direction, plan.study.direction),
            ("seed", stored["seed"], plan.seed),
        )
        if old != new
    ]
    difference = space.compare(stored["space"], plan.space.rows())
    found.extend(difference.breaking)
    if found:
        raise StudyError(
            f"study {name!r} exists and differs from what was asked:\n"
            + "\n".join(f"  {line}" for line in found)
            + "\nhint: give the new search another study.name, or undo the change"
        )
    for line in difference.ranges:
        log.warning("study %r goes on with another range: %s", name, line)
    _warn_of_config(name, stored["config"], plan.base_text())


def _warn_of_config(name: str, old: str, new: str) -> None:
    lines = [
        line
        for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    if lines:
        log.warning(
            "study %r goes on with another configuration, so its trials may not compare:\n%s",
            name,
            "\n".join(f"  {line}" for line in lines[:20]),
        )


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
