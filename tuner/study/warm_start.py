"""Warm start: the best configurations of a prior study, to begin a new study with."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageAway, StorageError, StudyError
from tuner.log import log
from tuner.space.distributions import Categorical, Distribution, Scalar
from tuner.space.tree import Parameter, Space
from tuner.storage import database, urls
from tuner.storage.trial_storage import Trials
from tuner.study import enqueued
from tuner.study.attempts import first_number
from tuner.study.plan import Plan
from tuner.study.queue import Item
from tuner.study.study import listed, names

ALIKE = 0.1
"""Mean distance per parameter, at most 1, below which two configurations are nearly equal."""


def best(plan: Plan) -> list[Item]:
    """Return the best trials of ``study.prior``, best first, with the parameters of this space.

    Raises:
        StudyError: There is no such study, it has no completed configuration, it has another metric
            or direction, or none of its parameters is searched here.
    """
    asked = plan.study
    known, missing = usable(plan)
    chosen = diverse(known, asked.prior_best, plan.space)
    log.info("study.prior: %d configurations of %r are enqueued first", len(chosen), asked.prior)
    if missing:
        log.info("study.prior: parameters that %s lacks are sampled: %s", asked.prior, missing)
    return chosen


def usable(plan: Plan) -> tuple[list[Item], list[str]]:
    """Return the prior's trials for this space, best first, and the parameters that some lack.

    Raises:
        StudyError: As for ``best``.
    """
    asked = plan.study
    assert asked.prior is not None
    known: dict[str, Item] = {}
    missing: set[str] = set()
    for trial in _complete(plan, asked.prior):
        fixed, outside = enqueued.located(plan.space, _values(trial))
        item = Item(fixed, f"study.prior: {asked.prior} #{first_number(trial)}")
        if fixed:
            known.setdefault(item.key, item)
            missing.update(p.name for p in outside)
    if not known:
        raise StudyError(
            f"no parameter of {asked.prior!r} is searched in this study",
            key="study.prior",
            hint="use a study with the same keys and overlapping ranges",
        )
    return list(known.values()), sorted(missing)


def _values(trial: FrozenTrial) -> Callable[[Parameter], object]:
    return lambda p: trial.params[p.name]


def _complete(plan: Plan, name: str) -> list[FrozenTrial]:
    """Return the complete trials of a study, best first."""
    url = plan.study.prior_url or plan.storage.url
    rdb = _database(url, name)
    try:
        if name not in (known := names(rdb)):
            raise StudyError(
                f"{urls.masked(url)} has no study {name!r}",
                key="study.prior",
                hint=f"it has {listed(name, known)}",
            )
        study = optuna.load_study(study_name=name, storage=rdb)
        trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    finally:
        rdb.close()
    direction = study.directions[0].name.lower()
    metric = study.user_attrs.get("metric", plan.study.metric)
    if (metric, direction) != (plan.study.metric, plan.study.direction):
        raise StudyError(
            f"{name!r} was to {direction} {metric}, not to "
            f"{plan.study.direction} {plan.study.metric}",
            key="study.prior",
            hint="use a study with the same metric and direction",
        )
    trials = [trial for trial in trials if trial.values]
    if not trials:
        raise StudyError(
            f"{name!r} has no completed configuration",
            key="study.prior",
            hint="wait for the first one",
        )
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: sign * trial.values[0])


def _database(url: str, name: str) -> Trials:
    try:
        return database.connect(url, write=False)
    except StorageAway:
        raise
    except StorageError as error:
        hint = f"study.prior_url sets the database of {name!r}"
        found = [replace(m, key="study.prior", hint=hint) for m in error.mistakes]
        raise StudyError(found) from error


def diverse(items: Sequence[Item], count: int, space: Space) -> list[Item]:
    """Return the first ``count`` items that are not nearly equal to an earlier one.

    If there are too few of them, the first of the others are added.
    """
    chosen: list[Item] = []
    for item in items:
        if all(distance(item.params, other.params, space) >= ALIKE for other in chosen):
            chosen.append(item)
    chosen = chosen[:count]
    rest = [item for item in items if item not in chosen]
    return [*chosen, *rest[: count - len(chosen)]]


def distance(one: Mapping[str, Scalar], other: Mapping[str, Scalar], space: Space) -> float:
    """Return the distance of two configurations: the mean over the parameters of both.

    The distance in each parameter is from 0 to 1; it is 1 if one configuration lacks it.
    """
    distributions = {p.name: p.distribution for p in space.parameters()}
    names = one.keys() | other.keys()
    return fmean(
        _apart(distributions[name], one[name], other[name]) if name in one and name in other else 1
        for name in names
    )


def _apart(distribution: Distribution, one: Scalar, other: Scalar) -> float:
    if isinstance(distribution, Categorical):
        return float(one != other)
    assert isinstance(one, int | float)
    assert isinstance(other, int | float)
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, one, other = (math.log(x) for x in (low, high, one, other))
    return abs(one - other) / (high - low) if high > low else 0.0
