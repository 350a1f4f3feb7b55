"""Add a trial with given values to a study, using the search space stored in its database."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from tuner.config.override_text import text_of
from tuner.config.types import nearest
from tuner.errors import ConfigError, Mistake
from tuner.report import summary
from tuner.space.distributions import Scalar
from tuner.study.attempts import FIXED
from tuner.study.create import require_ours
from tuner.study.study import Study


def add(study: Study, params: Mapping[str, Scalar]) -> None:
    """Add a trial that waits for a worker.

    Raises:
        ConfigError: Values do not fit the space; lists all errors.
        StudyError: The study was not created by tuner.
    """
    require_ours(study.name, study.attrs)
    fixed = _fixed(study, dict(params))
    waiting = create_trial(
        state=TrialState.WAITING,
        system_attrs={FIXED: fixed},
        user_attrs={"origin": "Study.enqueue"},
    )
    study.storage.create_new_trial(study.id, waiting)


def _fixed(study: Study, params: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return the values by their names in the study; a worker checks them against its own space."""
    rows: Sequence[Mapping[str, Any]] = study.attrs["space"]
    known = summary.summarise(study.optuna).space
    given = {key.removeprefix("objective."): value for key, value in params.items()}
    fixed: dict[str, Scalar] = {}
    mistakes: list[Mistake] = []
    used: set[str] = set()
    for row in rows:
        key = _key(row)
        if key not in given or not _holds(str(row.get("condition") or ""), given):
            continue
        used.add(key)
        value = _stored(given[key], known.get(row["name"]))
        if isinstance(value, Mistake):
            cure = f"{key}: {row['distribution']}"
            mistakes.append(Mistake(key, f"{given[key]!r} is not searched", cure))
        else:
            fixed[row["name"]] = value
    keys = list(dict.fromkeys(map(_key, rows)))
    for key in given.keys() - used:
        hint = "also set the options on which it depends" if key in keys else nearest(key, keys)
        mistakes.append(Mistake(key, "has no effect" if key in keys else "is not searched", hint))
    if mistakes:
        raise ConfigError(mistakes)
    return fixed


def _key(row: Mapping[str, Any]) -> str:
    key = row.get("key") or row["name"].partition("@")[0]
    return str(key).removeprefix("objective.")


def _holds(condition: str, given: Mapping[str, Scalar]) -> bool:
    """Return whether the options that a parameter depends on are given."""
    for part in filter(None, condition.split(", ")):
        key, _, option = part.removeprefix("objective.").partition("=")
        if key not in given or text_of(given[key]) != option:
            return False
    return True


def _stored(value: Scalar, asked: BaseDistribution | None) -> Scalar | Mistake:
    """Return a value as the study stores it, or the error that it is out of range.

    ``asked`` is the distribution of the latest trial with this parameter, None without one.
    """
    outside = Mistake("", "outside")
    if isinstance(asked, CategoricalDistribution):
        text = text_of(value)  # a list is stored as its text
        found = [choice for choice in asked.choices if text in (choice, text_of(choice))]
        return found[0] if found else outside
    if asked is None:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return outside
    inside = asked._contains(asked.to_internal_repr(value))
    return value if inside else outside
