"""What a command takes from a row of the database: values of its own space, and no words.

Whoever can write to a study's database can write any text into a trial.  So whatever is run, or
printed for somebody to run, is made of this command's own words: its pins, and its space at the
trial's values.  The overrides that are stored with a trial are only compared with those; what this
command would not have made itself is refused.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial

from tuner import config, queue
from tuner.attempts import FIXED
from tuner.errors import ConfigError, RowRefused
from tuner.log import printable
from tuner.nodes import OPERATIONAL
from tuner.plan import KEPT, Plan
from tuner.space import Parameter, Space
from tuner.sql.attributes import MALFORMED

SEED = re.compile(r"seed=\d{1,10}")
"""The one word that is a trial's own."""
PLACES = {"root", "download"}
"""Last parts of keys that may differ between the machines of a study: where data lie."""
LETTERS = 80
"""Of a word that a message shows."""
FORGED = "tuner has not written this; hint: see who can write to the database; delete the trial"
"""What may be done about a word that no search stores."""


def overrides(
    plan: Plan, number: int, params: Mapping[str, object], stored: Sequence[object] = ()
) -> list[str]:
    """The overrides that repeat a trial, as this command would have made them.

    ``params`` are the trial's by their names in the study, and ``stored`` its overrides, of which
    a trial that stock Optuna has run has none.  Only the seed is taken from them.

    Raises: RowRefused with all that this command would not have made.
    """
    refused = [f"{_shown(word)}: {why}" for word in stored if (why := _forged(word, plan.pins))]
    own: list[str] = []
    if not refused:
        own, refused = _made(plan, params)
    if not refused:
        refused = [f"{_shown(w)}: {why}" for w in stored if (why := _foreign(str(w), own))]
    if refused:
        raise RowRefused([f"trial {number}: {line}" for line in refused])
    return [*own, *(str(word) for word in stored if SEED.fullmatch(str(word)))]


def objections(space: Space, trial: FrozenTrial) -> list[str]:
    """Why a trial that others have queued is not run: each key, what is wrong, and the cure."""
    found = [
        f"{_shown(name)}: is malformed; hint: queue the configuration anew"
        for name in trial.system_attrs.get(MALFORMED, ())
    ]
    given = {**trial.system_attrs.get(FIXED, {}), **trial.params}
    known = {p.name: p for p in space.parameters()}
    unknown = [name for name in trial.params if name not in known]
    found += [f"{_shown(name)}: is not searched; hint: queue it without" for name in unknown]
    return found + [line for name, p in known.items() if (line := _outside(p, given))]


def _made(plan: Plan, params: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """The overrides of parameters in the plan's space, or what keeps them from being made."""
    fixed, outside = queue.located(plan.space, lambda p: params[p.name])
    unknown = params.keys() - fixed.keys() - {p.name for p in outside}
    missing = [p.name for p in outside if p.name not in params]
    if unknown or missing:
        return [], [_mismatch(unknown, missing)]
    if outside:
        return [], [line for p in outside if (line := _outside(p, params))]
    return [*plan.pins, *plan.space.overrides(fixed)], []


def _mismatch(unknown: Iterable[str], missing: Iterable[str]) -> str:
    """Another space than this command's: most often the search's own words were left out."""
    told = {"has": sorted(unknown), "lacks": sorted(missing)}
    said = " and ".join(f"{verb} {_listed(names)}" for verb, names in told.items() if names)
    return (
        f"{said}, unlike the space of this command; hint: the options and overrides that the "
        "search was started with, as the lines have them that tuner tune ends with"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(_shown, names[:3])) + more


def _outside(p: Parameter, given: Mapping[str, object]) -> str | None:
    """What is wrong with a parameter's value; None where it lies in the space, or is not given."""
    if p.name not in given:
        return None
    try:
        queue.locate(p.distribution, given[p.name])
    except (ValueError, TypeError, OverflowError):
        value = _shown(given[p.name])
        return f"{p.name}={value}: is not in {p.distribution}; hint: a wider range of {p.key}"
    return None


def _forged(word: object, pins: Sequence[str]) -> str | None:
    """Why no search has stored this word; None where one may have."""
    if not isinstance(word, str):
        return f"is no override; {FORGED}"
    if word in pins:
        return None
    key = _key(word)
    if not word.isprintable():
        return f"holds control characters; {FORGED}"
    if word.startswith("-"):
        return f"is an option of the command line; {FORGED}"
    if re.search(r"(^|\W)(_\w+_|hydra)(\W|$)", word):
        return f"names code, or Hydra's own settings; {FORGED}"
    if key.split(".")[0].split("@")[0] in OPERATIONAL and ".".join(key.split(".")[:2]) not in KEPT:
        return f"says how to search, and where; {FORGED}"
    if "${" in word:
        return f"refers to what lies outside of the trial; {FORGED}"
    return None


def _foreign(word: str, own: Sequence[str]) -> str | None:
    """In what a stored word differs from this command's own; None where it does not matter."""
    if word in own or SEED.fullmatch(word):
        return None
    key = _key(word)
    mine = [text for text in own if _key(text) == key]
    if not mine:
        return "is neither pinned nor searched by this command; hint: give it here, too"
    if key.rpartition(".")[2] in PLACES or _value(mine[-1]) == _value(word):
        return None
    return f"is {_shown(mine[-1])} to this command; hint: the command line of the search"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _value(word: str) -> object:
    """What an override sets, or its text where that cannot be read."""
    try:
        return config.parse(word).value()
    except ConfigError:
        return word


def _shown(value: object) -> str:
    """Quoted as for a shell: what a message shows may be pasted into one."""
    text = printable(str(value), kept="")
    return shlex.quote(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…")
