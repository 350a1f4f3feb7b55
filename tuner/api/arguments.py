"""Convert the arguments of ``tuner.search`` to the overrides of the same search by ``tuner tune``.

A keyword of the function becomes ``objective.KEY``. Errors in keys are translated back to Python's
arguments.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tuner.api import secret_overrides
from tuner.config import override_parser, targets
from tuner.config.override_text import text_of
from tuner.errors import ConfigError, Mistake, TunerError

ARGUMENTS = {
    "n_trials": "study.n_trials",
    "metric": "study.metric",
    "direction": "study.direction",
    "name": "study.name",
    "url": "storage.url",
    "workers": "launch.workers",
    "seed": "seed",
}
"""Argument of ``tuner.search`` → the key that it sets."""
SWEEP = re.compile(r"\s*(choice|interval|range|tag|int|float|str|bool|glob|shuffle|sort)\s*\(")
"""The beginning of a text that is a sweep, or is meant to be one."""

Scalars = str | int | float | bool | None


def overrides(
    target: str,
    space: object,
    settings: Mapping[str, object],
    more: Sequence[str],
    mistakes: Sequence[Mistake] = (),
) -> list[str]:
    """Return the overrides of a search.

    Args:
        target: The ``_target_`` of the function.
        space: The search space, the argument of ``tuner.search``.
        settings: Values by the names of ``ARGUMENTS``; None is written as null.
        more: Further overrides.
        mistakes: Known errors.

    Raises:
        ConfigError: The space cannot be converted; lists all errors in it.
    """
    reader = _Reader(target)
    reader.read(space)
    if isinstance(more, str):
        told = f"expected a list of overrides, got {more!r}"
        reader.mistakes.append(Mistake("overrides", told, f"[{more!r}]"))
    if reader.mistakes:
        raise ConfigError([*mistakes, *reader.mistakes])
    tree = [f"+space={text_of(reader.tree)}"] if reader.tree else []
    given = [f"{ARGUMENTS[key]}={text_of(value)}" for key, value in settings.items()]
    named = ["objective=function", f"objective._target_={target}"]
    words = [*named, "space=none", *tree, *reader.pins, *given, *more]
    return list(map(secret_overrides.moved, words))


class _Reader:
    """Divides a space into pinned and searched keys, and collects the errors in it."""

    def __init__(self, target: str) -> None:
        self.pins: list[str] = []
        self.tree: dict[str, Any] = {}
        self.mistakes: list[Mistake] = []
        self.known, self.open_ended = targets.signature(target)

    def read(self, space: object) -> None:
        if not isinstance(space, Mapping):
            told = f"expected a mapping of the function's keywords, got {space!r}"
            self.mistakes.append(Mistake("space", told, '{"lr": "interval(0, 1)"}'))
            return
        for key, value in space.items():
            if not self._fits(key, value, str(key)):
                continue
            if isinstance(value, Mapping):
                self.tree[self._key(key)] = self._options(value, str(key))
            elif isinstance(value, str) and SWEEP.match(value):
                self.tree[self._key(key)] = value
            else:
                self.pins.append(f"{self._key(key)}={text_of(value)}")

    def _options(self, options: Mapping[Any, Any], where: str) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for option, below in options.items():
            place = f"{where}.{option}"
            if option is None or not isinstance(option, Scalars):
                told = f"expected the name or number of an option, got {option!r}"
                self.mistakes.append(Mistake(where, told, "convert it within the function"))
            elif not _reads_back(option):
                told = (
                    f"expected a name, got the string {option!r}, which YAML reads as another type"
                )
                self.mistakes.append(Mistake(where, told, f"write {option} without quotes"))
            elif not isinstance(below, Mapping):
                told = f"expected a mapping of the keywords of this option, got {below!r}"
                self.mistakes.append(Mistake(place, told, "{} if there are none"))
            else:
                found[option] = self._branch(below, place)
        return found

    def _branch(self, below: Mapping[Any, Any], where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in below.items():
            place = f"{where}.{key}"
            if self._fits(key, value, place):
                whole = isinstance(value, Mapping)
                sweep = isinstance(value, str) and SWEEP.match(value)
                found[self._key(key)] = (
                    self._options(value, place) if whole else value if sweep else text_of(value)
                )
        return found

    def _fits(self, key: object, value: object, where: str) -> bool:
        """Return whether a key and the type of its value are valid; record errors."""
        if not (isinstance(key, str) and key.isidentifier()):
            told = f"expected a keyword of the function, got {key!r}"
            self.mistakes.append(Mistake("space", told, '"lr", for example'))
        elif isinstance(value, list | tuple | set):
            told = f"expected a sweep or one value, got {value!r}"
            listed = ", ".join(map(text_of, value))
            self.mistakes.append(Mistake(where, told, f'"choice({listed})"'))
        elif not isinstance(value, Mapping | Scalars):
            told = f"expected a sweep, a mapping of options or one value, got {value!r}"
            hint = "bind other objects with functools.partial, or convert a name in the function"
            self.mistakes.append(Mistake(where, told, hint))
        else:
            return True
        return False

    def _key(self, key: str) -> str:
        """Return the override's key, added if only the function's ``**kwargs`` accept it."""
        sign = "+" if self.open_ended and key not in self.known else ""
        return f"{sign}objective.{key}"


def _reads_back(option: Scalars) -> bool:
    """Return whether Hydra parses the text of a mapping's key to the same value."""
    try:
        read = override_parser.parse(f"x={text_of({option: 0})}").value()
    except ConfigError:
        return False
    return isinstance(read, dict) and [*map(repr, read)] == [repr(option)]


KEYS = {key: argument for argument, key in ARGUMENTS.items() if key != argument} | {
    "objective._target_": "function"
}
HINTS = {
    "run tuner train with its overrides to see the complete traceback": (
        "tuner.open(NAME).trials have the complete tracebacks"
    )
}
"""Hint of the command line → hint in Python."""


@contextmanager
def in_python() -> Iterator[None]:
    """Raise errors with the arguments of ``tuner.search`` instead of keys."""
    try:
        yield
    except TunerError as error:
        raise type(error)([_reworded(mistake) for mistake in error.mistakes]) from error


def _reworded(mistake: Mistake) -> Mistake:
    lacking = mistake.problem == "missing" and mistake.key.startswith("objective.")
    cure = "add it to the space, or give the parameter a default"
    return replace(
        mistake,
        key=_words(mistake.key),
        problem=_words(mistake.problem),
        hint=cure if lacking else _words(mistake.hint),
        when=tuple(map(_words, mistake.when)),
    )


def _words(text: str) -> str:
    text = HINTS.get(text, text).replace(f"{targets.HERE}.", "")
    for key, argument in KEYS.items():
        text = re.sub(rf"(?<![\w.]){re.escape(key)}\b", argument, text)
    return re.sub(r"(?<![\w.])\+?(space\.)?\+?objective\.(?=[a-zA-Z])", "", text)
