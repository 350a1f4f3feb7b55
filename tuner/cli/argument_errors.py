"""Format errors in the call of a command like all other errors."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from tuner.config.types import closest
from tuner.errors import Mistake, hinted
from tuner.log import printable
from tuner.masking import masked


class Parser(argparse.ArgumentParser):
    """Prints one line without the usage: error and hint; exits with 2."""

    def error(self, message: str, hint: str = "") -> NoReturn:
        self.refuse([Mistake("", message, hint) if hint else _ours(message)])

    def refuse(self, mistakes: Sequence[Mistake]) -> NoReturn:
        """Print the errors as one line and exit."""
        told = "; ".join(map(str, mistakes))
        help = "" if mistakes[-1].hint else hinted(f"{self.prog} --help")
        print(printable(masked(f"error: {told}{help}")), file=sys.stderr)
        sys.exit(2)


def _ours(message: str) -> Mistake:
    """Return the error for a message of argparse, rephrased if the message is known."""
    for pattern, tell in WORDS.items():
        if found := re.match(f"(?:argument )?{pattern}", message):
            return tell(*found.groups())
    return Mistake("", message.removeprefix("argument "))


def _choice(flag: str, got: str, choices: str) -> Mistake:
    words = re.findall(r"[\w-]+", choices)
    meant = closest(got.strip("'"), words)
    cure = f"did you mean {meant!r}?" if meant else f"for example {words[0]}"
    known = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    return Mistake(flag, f"expected {known}, got {got}", cure)


WORDS: dict[str, Callable[..., Mistake]] = {
    r"(\S+): ignored explicit argument (.*)": (
        lambda flag, got: Mistake(flag, f"expected no value, got {got}", f"{flag} alone")
    ),
    r"([^:]+): invalid choice: (.*) \(choose from (.*)\)": _choice,
    r"([^:]+): invalid (\w+) value: (.*)": (
        lambda flag, kind, got: Mistake(flag, f"expected {kind.strip('_')}, got {got}")
    ),
    r"([^:]+): expected one argument": lambda flag: Mistake(flag, "missing value", f"{flag}=VALUE"),
    "the following arguments are required: (.*)": lambda names: Mistake(names, "missing"),
    "ambiguous option: (.*) could match (.*)": (
        lambda flag, known: Mistake(flag, "ambiguous option", known)
    ),
}
"""argparse's messages → tuner's."""


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that accepts an integer from ``low`` to ``high``."""

    def read(text: str) -> int:
        wanted = f"from {low} to {high}" if high is not None else f"of {low} or more"
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"expected an integer {wanted}, got {text!r}")
        return number

    return read
