"""What is wrong with how a command is called, in the words of all other mistakes."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from tuner.log import printable
from tuner.masking import masked
from tuner.schema import closest


class Parser(argparse.ArgumentParser):
    """Prints one line, without the usage: what, got and cure; exits with 2."""

    def error(self, message: str) -> NoReturn:
        told = re.sub("^argument ", "", _ours(message))
        cure = "" if "; hint: " in told else f"; hint: {self.prog} --help"
        print(printable(masked(f"error: {told}{cure}")), file=sys.stderr)
        sys.exit(2)


def _ours(message: str) -> str:
    """Argparse's own words replaced; others as they are."""
    for pattern, tell in WORDS.items():
        if found := re.match(f"(?:argument )?{pattern}", message):
            return tell(*found.groups())
    return message


def _choice(flag: str, got: str, known: str) -> str:
    words = re.findall(r"[\w-]+", known)
    meant = closest(got.strip("'"), words)
    cure = f"did you mean {meant!r}?" if meant else f"{words[0]}, say"
    return f"{flag}: expected {' or '.join(words)}, got {got}; hint: {cure}"


WORDS: dict[str, Callable[..., str]] = {
    r"(\S+): ignored explicit argument (.*)": (
        lambda flag, got: f"{flag}: takes no value, got {got}; hint: {flag} alone"
    ),
    r"([^:]+): invalid choice: (.*) \(choose from (.*)\)": _choice,
    r"([^:]+): invalid (\w+) value: (.*)": (
        lambda flag, kind, got: f"{flag}: expected {kind.strip('_')}, got {got}"
    ),
    r"([^:]+): expected one argument": lambda flag: f"{flag}: no value; hint: {flag}=VALUE",
    "the following arguments are required: (.*)": lambda names: f"{names}: missing",
    "ambiguous option: (.*) could match (.*)": (
        lambda flag, known: f"{flag}: more than one option begins so; hint: {known}"
    ),
}
"""What argparse says → how it is told here."""


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        wanted = f"from {low} to {high}" if high is not None else f"of {low} or more"
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"expected a whole number {wanted}, got {text!r}")
        return number

    return read
