"""Create or resume a study, and check that the resuming command matches the one that created it."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from optuna.study import StudyDirection

from tuner.config import lookup
from tuner.errors import StorageAway, StorageError, StorageLost, StudyError
from tuner.log import log
from tuner.space import tree
from tuner.storage import database, urls
from tuner.storage.trial_storage import Trials
from tuner.study import fingerprint, limits, recorded, start_cost, warm_start
from tuner.study.budget import Budget
from tuner.study.plan import Plan
from tuner.study.queue import Item
from tuner.study.stored_config import changed
from tuner.study.study import Study, clear_tables, create_tables, damaged


def open_study(plan: Plan) -> Study:
    """Create the study of a plan, or resume it.

    The study is created under the database's lock, so many workers may start at the same time.

    Raises:
        StudyError: The existing study has other settings, or the prior study cannot be used.
    """
    check_prior(plan)
    rdb = database.connect(plan.storage.url)
    name = plan.study.name
    described = _description(plan)
    create_tables(rdb)
    with rdb.dialect.lock(rdb.engine, name):
        _create(rdb, plan, described)
        study = Study(rdb, name, grace=plan.worker.grace, patience=plan.storage.patience)
        _match(study, plan, described)
        start_cost.check(study, plan.worker.turn)
        _keep_budget(study, limits.budget(plan))
        _go_on(study)
    if plan.study.prior is not None:
        _keep_prior(study, plan)
    return study


def join_study(plan: Plan, uid: str) -> Study:
    """Return the study of a plan that a supervisor has created, for one of its workers.

    Raises:
        StorageLost: The study is no longer in the database, or another one has its name.
    """
    try:
        rdb = database.connect(plan.storage.url, create=False)
        study = Study(rdb, plan.study.name, grace=plan.worker.grace, patience=plan.storage.patience)
    except StorageAway:
        raise
    except (StorageError, KeyError) as error:
        reason = error.args[0]
        raise StorageLost(f"study {plan.study.name!r} no longer exists: {reason}") from error
    if study.uid != uid:
        raise StorageLost(
            f"study {plan.study.name!r} is not the one for which this worker was started",
            hint="restore the database, or run tuner tune again",
        )
    try:
        _match(study, plan, _description(plan))
    except BaseException:
        rdb.close()  # a worker that waits goes on without it
        raise
    return study


def queue(plan: Plan, study: Study) -> list[Item]:
    """Return the trials to try first: those of the command line, then those of the prior."""
    stored = study.attrs.get("prior") if plan.study.prior is not None else None
    return [
        *limits.queue(plan),
        *(Item(item["params"], item["origin"]) for item in (stored or {}).get("items", ())),
    ]


def check_prior(plan: Plan) -> None:
    """Raise ``StudyError`` if ``study.prior`` cannot be used, unless the study already has it."""
    if plan.study.prior is not None and _noted_prior(plan) != _prior_of(plan):
        warm_start.usable(plan)


def _prior_of(plan: Plan) -> list[str]:
    return [str(plan.study.prior), urls.masked(plan.study.prior_url or plan.storage.url)]


def _noted_prior(plan: Plan) -> list[str] | None:
    """Return the prior of the study, as ``_prior_of``; None without database, study or prior."""
    try:
        rdb = database.connect(plan.storage.url, write=False)
    except StorageAway:
        raise
    except StorageError:
        return None
    try:
        attrs = rdb.get_study_user_attrs(rdb.get_study_id_from_name(plan.study.name))
    except KeyError:
        return None
    finally:
        rdb.close()
    of: list[str] | None = attrs.get("prior", {}).get("of")
    return of


def _keep_prior(study: Study, plan: Plan) -> None:
    """Store the best trials of the prior study once, so that all workers use the same."""
    of = _prior_of(plan)
    if study.attrs.get("prior", {}).get("of") == of:
        return
    items = [asdict(item) for item in warm_start.best(plan)]
    with study.lock():
        if study.attrs.get("prior", {}).get("of") != of:
            study.storage.set_study_user_attr(study.id, "prior", {"of": of, "items": items})


def _keep_budget(study: Study, budget: Budget) -> None:
    """Store the current limits, for views of the study."""
    attrs = study.attrs
    for key, value in (("n_trials", budget.n_trials), ("budget", asdict(budget))):
        if key not in attrs or attrs[key] != value:
            study.storage.set_study_user_attr(study.id, key, value)


def _go_on(study: Study) -> None:
    """Let workers that wait serve a study again that was stopped, once all have left it."""
    stopped = set(study.attrs.get("stopped", ()))
    staying = stopped & {worker.id for worker in study.workers() if worker.alive}
    if staying:
        log.warning(
            "study %r was stopped and %d workers have not left yet: workers that wait go on with it"
            " when the command is run again after that",
            study.name,
            len(staying),
        )
    elif stopped:
        study.storage.set_study_user_attr(study.id, "stopped", [])


def _create(rdb: Trials, plan: Plan, attrs: Mapping[str, Any]) -> None:
    """Create the study if it is missing, or complete it if its creator died half-way."""
    objectives = plan.aims.objectives
    directions = [StudyDirection[way.upper()] for way in objectives.values()]
    known = {s.study_name: s._study_id for s in rdb.get_all_studies()}
    study_id = known.get(plan.study.name)
    if study_id is None:
        study_id = rdb.create_new_study(directions, plan.study.name)
        with rdb.engine.begin() as connection:
            clear_tables(connection, study_id)
    elif "space" in rdb.get_study_user_attrs(study_id) or rdb.get_n_trials(study_id):
        return
    rdb.set_study_system_attr(study_id, "study:metric_names", list(objectives))
    for key, value in attrs.items():
        rdb.set_study_user_attr(study_id, key, value)


def _description(plan: Plan) -> dict[str, Any]:
    """Return the attributes of a study; ``space`` is stored last and marks a complete study."""
    return {
        "uid": uuid.uuid4().hex,
        "metric": plan.study.metric,
        "objectives": plan.aims.objectives,
        "constraints": dict(plan.aims.limits),
        "seed": plan.seed,
        "config": plan.base_text,
        "overrides": list(plan.pins),
        "command": recorded.words_of(plan),
        "study_dir": plan.study.dir,
        "search": search_text(plan),
        **fingerprint.here(str(plan.cfg.objective._target_)),
        "space": plan.space.rows(),
    }


def _match(study: Study, plan: Plan, now: Mapping[str, Any]) -> None:
    """Raise ``StudyError`` for another space, metric, direction or seed; warn of other changes."""
    stored = study.attrs
    name = plan.study.name
    require_ours(name, stored)
    directions = [way.name.lower() for way in study.optuna.directions]
    direction = directions[0]
    aims = plan.aims
    own = [(stored["metric"], direction)]
    traded = list(stored["objectives"].items()) if "objectives" in stored else own
    if [way for _, way in traded] != directions:
        raise damaged(
            f"{name!r} is damaged: its objectives are {dict(traded)}, its directions"
            f" {', '.join(directions)}"
        )
    found = [
        f"{key}: stored {old!r}, requested {new!r}"
        for key, old, new in (
            ("study.metric", stored["metric"], plan.study.metric),
            ("study.direction", direction, plan.study.direction),
            ("study.objectives", traded[1:], list(aims.objectives.items())[1:]),
            ("study.constraints", stored.get("constraints", {}), dict(aims.limits)),
            ("seed", stored["seed"], plan.seed),
        )
        if old != new
    ]
    difference = tree.compare(stored["space"], plan.space.rows())
    found.extend(difference.breaking)
    if found:
        raise StudyError(
            "\n  ".join([f"study {name!r} exists with other settings", *found]),
            hint="choose another study.name for the new search, or undo the change",
        )
    for line in difference.ranges:
        log.warning("study %r is resumed with another range: %s", name, line)
    code = fingerprint.differences(stored, now)
    settings = changed(stored["config"], now["config"])
    _warn(name, "is resumed with other code, so its trials may not be comparable", code)
    _warn(
        name, "is resumed with another configuration, so its trials may not be comparable", settings
    )
    how = changed(stored.get("search", now["search"]), now["search"])
    _warn(name, "is resumed with another sampler or pruner", how)
    study.differs = [*code, *settings]


def require_ours(name: str, attrs: Mapping[str, Any]) -> None:
    """Raise ``StudyError`` if a study lacks attributes that tuner stores with each new study."""
    if missing := [key for key in ("space", "metric", "seed", "config", "uid") if key not in attrs]:
        told = f"{name!r} was not created by tuner, or is damaged: it has no {', '.join(missing)}"
        raise damaged(told)


def search_text(plan: Plan) -> str:
    """Return sampler and pruner as YAML; a study may be resumed with others."""
    kept = {"sampler", "pruner"}
    return lookup.text(plan.cfg, without=[str(k) for k in plan.cfg if k not in kept])


def _warn(name: str, what: str, lines: list[str]) -> None:
    if lines:
        shown = "\n".join(f"  {line}" for line in lines[:20])
        log.warning("study %r %s:\n%s", name, what, shown)
