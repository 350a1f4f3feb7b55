"""Build a trial's overrides from the current command, and refuse trials that do not fit it.

Anybody who can write to a study's database can write any text into a trial. Therefore, the
overrides that are run or printed are built from the current command: its pinned overrides, and its
search space at the trial's values. The overrides stored with a trial are only compared with these,
and a trial that the command would not have created is refused.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial

from tuner.config import override_parser
from tuner.config.lookup import is_operational, key_of
from tuner.errors import ConfigError, Mistake, RowRefused
from tuner.log import first, printable
from tuner.space.tree import Parameter, Space
from tuner.storage.attributes import MALFORMED
from tuner.study import enqueued
from tuner.study.attempts import FIXED
from tuner.study.plan import Plan

SEED = re.compile(r"seed=\d{1,10}")
"""The only override that is taken from a trial."""
PLACES = {"root", "download"}
"""Last parts of keys that may differ between machines: the location of the data."""
LETTERS = 80
"""Characters of an override that a message shows."""
FORGED = "check who can write to the database, and delete the trial"
"""The hint for an override that tuner never stores."""


def overrides(
    plan: Plan, number: int, params: Mapping[str, object], stored: Sequence[object] = ()
) -> list[str]:
    """Return the overrides that repeat a trial, as the current command would have built them.

    Args:
        params: Maps names in the study to values.
        stored: The trial's overrides, of which only the seed is used; a trial that was run by stock
            Optuna has none.

    Raises:
        RowRefused: The current command would not have created the trial; lists all differences.
    """
    refused = [
        Mistake(_shown(word), f"{why}; tuner has not written this", FORGED)
        for word in stored
        if (why := _forged(word, plan.pins))
    ]
    own: list[str] = []
    if not refused:
        own, refused = _made(plan, params)
    if not refused:
        refused = [found for word in stored if (found := _foreign(str(word), own))]
    if refused:
        raise RowRefused([m.at(f"trial {number}: {m.key}".rstrip(": ")) for m in refused])
    return [*own, *(str(word) for word in stored if SEED.fullmatch(str(word)))]


def objections(space: Space, trial: FrozenTrial) -> list[Mistake]:
    """Return why a queued trial is refused, one error for each key; empty if it can be run."""
    found = [
        Mistake(_shown(name), "is malformed", "enqueue the configuration again")
        for name in trial.system_attrs.get(MALFORMED, ())
    ]
    given = {**trial.system_attrs.get(FIXED, {}), **trial.params}
    known = {p.name: p for p in space.parameters()}
    unknown = [name for name in trial.params if name not in known]
    found += [
        Mistake(_shown(name), "is not searched", "enqueue it without this key") for name in unknown
    ]
    return found + [wrong for p in known.values() if (wrong := _outside(p, given))]


def _made(plan: Plan, params: Mapping[str, object]) -> tuple[list[str], list[Mistake]]:
    """Return the overrides for parameters in the plan's space, and the errors in the parameters."""
    fixed, outside = enqueued.located(plan.space, lambda p: params[p.name])
    unknown = params.keys() - fixed.keys() - {p.name for p in outside}
    missing = [p.name for p in outside if p.name not in params]
    if unknown or missing:
        return [], [_mismatch(unknown, missing)]
    if outside:
        return [], [wrong for p in outside if (wrong := _outside(p, params))]
    return [*plan.pins, *plan.space.overrides(fixed)], []


def _mismatch(unknown: Iterable[str], missing: Iterable[str]) -> Mistake:
    """Return the error for another search space; usually, overrides of the search are missing."""
    told = {"has": sorted(unknown), "lacks": sorted(missing)}
    shown = {verb: first(list(map(_shown, names)), 3) for verb, names in told.items() if names}
    said = " and ".join(f"{verb} {names}" for verb, names in shown.items())
    return Mistake(
        "",
        f"{said}, unlike the space of this command",
        "repeat the options and overrides of the search; command.json in its study.dir lists them",
    )


def _outside(p: Parameter, given: Mapping[str, object]) -> Mistake | None:
    """Return the error in a parameter's value; None if it is in the space or not given."""
    if p.name not in given:
        return None
    try:
        enqueued.locate(p.distribution, given[p.name])
    except (ValueError, TypeError, OverflowError):
        value, hint = _shown(given[p.name]), f"a wider range of {p.key}"
        return Mistake(f"{p.name}={value}", f"is not in {p.distribution}", hint)
    return None


def _forged(word: object, pins: Sequence[str]) -> str | None:
    """Return why tuner cannot have stored this override; None if it may have."""
    if not isinstance(word, str):
        return "is not an override"
    if word in pins:
        return None
    if not word.isprintable():
        return "contains control characters"
    if word.startswith("-"):
        return "is an option of the command line"
    if re.search(r"(^|\W)(_\w+_|hydra)(\W|$)", word):
        return "names code or settings of Hydra"
    if is_operational(word):
        return "configures the search, not the objective"
    if "${" in word:
        return "refers to something outside of the trial"
    return None


def _foreign(word: str, own: Sequence[str]) -> Mistake | None:
    """Return how a stored override differs from the command's; None if that does not matter."""
    if word in own or SEED.fullmatch(word):
        return None
    key = key_of(word)
    mine = [text for text in own if key_of(text) == key]
    if not mine:
        told = "is neither pinned nor searched by this command"
        return Mistake(_shown(word), told, "add it to this command")
    if key.rpartition(".")[2] in PLACES or _value(mine[-1]) == _value(word):
        return None
    told = f"is {_shown(mine[-1])} to this command"
    return Mistake(_shown(word), told, "use the command line of the search")


def _value(word: str) -> object:
    """Return the value of an override, or its text if it cannot be parsed."""
    try:
        return override_parser.parse(word).value()
    except ConfigError:
        return word


def _shown(value: object) -> str:
    """Return a text quoted for a shell, because messages may be pasted into one."""
    text = printable(str(value), kept="")
    return shlex.quote(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…")
