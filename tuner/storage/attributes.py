"""The shapes of the attributes of trials and studies that tuner or its samplers read.

Other programs and people can write to the database. Malformed attributes are dropped with a warning
when they are read, so that the callers can rely on their shapes. Attributes that are not listed
here are not checked.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution

from tuner.log import log, printable
from tuner.storage.reason_kind import Kind
from tuner.storage.shapes import (
    UNREADABLE,
    Shape,
    count,
    decoded,
    each,
    encoded,
    limit,
    mapping,
    matching,
    number,
    numeric,
    optional,
    record,
    scalar,
    text,
)

MALFORMED = "tuner:malformed"
"""System attribute, never stored: the names of the attributes that were dropped."""
SHOWN = 60
"""Number of characters of a malformed value that the warning shows."""

DIGEST = matching(r"[0-9a-f]{6,64}")
ARTIFACT = record({"artifact_id": matching(r"[0-9a-f-]{36}"), "filename": text})
PARAMETER = record({"name": text, "distribution": text}, key=text, condition=optional(text))
TRAINING = record(
    {"protocol": matching("race|final"), "seed": count, "digest": DIGEST, "again": count}
)
ENTRANT = record(
    {
        "number": count,
        "params": mapping(scalar),
        "digests": record({"race": DIGEST, "final": DIGEST}),
    }
)
ITEM = record({"params": mapping(scalar), "origin": text})
BUDGET = record(
    {},
    n_trials=optional(count),
    epochs=limit,
    hours=limit,
    device_hours=limit,
    length=optional(count),
    stop_when=matching("never|gain_below_noise"),
    noise=optional(number),
    repeats=count,
    closed=lambda found: isinstance(found, bool),
)

TRIAL: Mapping[str, Shape] = {
    "overrides": each(text),
    "worker": text,
    "host": text,
    "device": text,
    "run_dir": text,
    "differs": each(text),
    "epochs": count,
    "metrics": mapping(numeric),
    "facts": mapping(lambda found: isinstance(found, str | bool) or numeric(found)),
    "reason": text,
    "reason_kind": matching("|".join(Kind)),
    "reason_hint": text,
    "traceback": text,
    "origin": text,
}
"""User attributes of a trial."""

TRIAL_SYSTEM: Mapping[str, Shape] = {
    "failed_trial": count,
    "retry_history": each(count),
    "fixed_params": mapping(scalar),
    "tuner:requeue": record({"reason": text}, crashes=count),
    "tuner:crashes": count,
    "tuner:configuration": count,
    "tuner:length": lambda found: count(found) and found > 0,
    "tuner:validation_examples": lambda found: count(found) and found > 0,
    "tuner:queued": text,
    "tuner:audit": count,
    "tuner:repeat": count,
    "tuner:training": TRAINING,
    "constraints": each(number),
    "grid_id": count,
    "search_space": mapping(each(scalar)),
    "x_for_tell": each(number),
}
PREFIXES: Mapping[str, Shape] = {
    "completed_rung_": number,
    "constraints:": number,
    "artifacts:": lambda found: found is None or encoded(optional(ARTIFACT))(found),
    "tpe:": text,
    "gp:": text,
}
"""Shapes of system attributes whose names end in a number or a name, by prefix."""
DRAWN = ("tpe:relative_params", "gp:relative_params")
"""JSON that Optuna's samplers store in pieces, ``NAME:0``, ``NAME:1``, …"""
GENERATION = ":generation"
"""Suffix of the attributes of evolutionary samplers."""

STUDY: Mapping[str, Shape] = {
    "uid": matching(r"[\w-]{1,64}"),
    "metric": text,
    "objectives": mapping(matching("minimize|maximize")),
    "constraints": mapping(number),
    "seed": lambda found: type(found) is int,
    "config": text,
    "overrides": each(text),
    "command": each(text),
    "study_dir": text,
    "search": text,
    "git_commit": optional(DIGEST),
    "git_changes": optional(DIGEST),
    "source": optional(DIGEST),
    "versions": mapping(text),
    "space": each(PARAMETER),
    "stopped": each(text),
    "n_trials": optional(count),
    "budget": BUDGET,
    "clock": mapping(number),
    "start_seconds": lambda found: number(found) and 0 <= found < math.inf,
    "prior": record({"of": each(text), "items": each(ITEM)}),
    "final": record({"of": text, "since": count, "entrants": each(ENTRANT)}),
}
"""User attributes of a study."""

STUDY_SYSTEM: Mapping[str, Shape] = {"study:metric_names": each(text)}


def of_trial(
    name: int | str, user: dict[str, Any], system: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return user and system attributes without the malformed ones, which ``MALFORMED`` names."""
    who = f"trial {name}"
    user, wrong = _sound(who, user, TRIAL.get)
    system, more = _sound(who, system, _of_system)
    more += _unfinished(system)
    if wrong or more or MALFORMED in system:
        kept = {key: item for key, item in system.items() if key not in more}
        system = {**kept, MALFORMED: [*wrong, *more]}
    return user, system


def _unfinished(system: Mapping[str, Any]) -> list[str]:
    """Return the names of attributes whose other parts are missing or malformed."""
    wrong = ["grid_id"] if "grid_id" in system and "search_space" not in system else []
    for name in DRAWN:
        if f"{name}:0" in system:
            names = (f"{name}:{k}" for k in itertools.count())
            pieces = itertools.takewhile(system.__contains__, names)
            whole = decoded("".join(system[piece] for piece in pieces))
            # Not JSON yet while another worker is writing them.
            wrong += [f"{name}:0"] * (whole is not UNREADABLE and not mapping(scalar)(whole))
    return wrong


def of_study(name: str, attrs: dict[str, Any], *, system: bool) -> dict[str, Any]:
    """Return the system or the user attributes of a study without the malformed ones."""
    return _sound(f"study {name!r}", attrs, _of_study_system if system else STUDY.get)[0]


@functools.lru_cache(maxsize=4096)
def distribution(stored: str) -> BaseDistribution:
    """Parse the stored distribution of a parameter.

    It is cached, because a study has a few dozen and a row for each use.

    Raises:
        ValueError: The distribution is malformed.
    """
    plain = None | bool | int | float | str
    try:
        parsed = json.loads(stored)
        choices = parsed.get("attributes", parsed).get("choices", ())
        if not all(isinstance(choice, plain) for choice in choices):  # of which Optuna only warns
            raise TypeError(choices)
        return json_to_distribution(stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a distribution: {stored[:SHOWN]}") from error


def _of_system(key: str) -> Shape | None:
    if shape := TRIAL_SYSTEM.get(key):
        return shape
    if key.endswith(GENERATION):
        return count
    return next((shape for start, shape in PREFIXES.items() if key.startswith(start)), None)


def _of_study_system(key: str) -> Shape | None:
    if ":parent" in key:
        return each(count)
    return STUDY_SYSTEM.get(key)


def _sound(
    who: str, found: dict[str, Any], shape_of: Callable[[str], Shape | None]
) -> tuple[dict[str, Any], list[str]]:
    wrong = [
        key
        for key, item in found.items()
        if not isinstance(key, str)  # NULL, or a blob in SQLite
        or item is UNREADABLE
        or ((shape := shape_of(key)) is not None and not shape(item))
    ]
    if not wrong:
        return found, wrong
    for key in wrong:
        warn(who, str(key), found[key])
    sound = {key: item for key, item in found.items() if key not in wrong}
    return sound, [str(key) for key in wrong]


_told: set[tuple[str, str]] = set()


def warn(who: str, attribute: str, got: Any) -> None:
    """Warn, once per process and attribute, that an attribute is dropped."""
    if (who, attribute) not in _told:
        _told.add((who, attribute))
        shown = printable(repr(got)[:SHOWN], kept="")
        log.warning("%s: its attribute %s is malformed and ignored: %s", who, attribute, shown)
