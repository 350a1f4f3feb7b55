"""The logger of the package: plain lines on stderr, or in a worker's own log file."""

import logging
import re
import sys
import unicodedata
from collections.abc import Sequence
from textwrap import shorten

from tuner.masking import masked, without_secrets

log = logging.getLogger("tuner")

ON_PURPOSE = {"on_purpose": True}


def printable(text: str, kept: str = "\n\t") -> str:
    """The text as a terminal may have it: what is no letter, mark or blank is written out.

    A database or a file may hold what moves the cursor, hides a line, or turns the direction of
    writing round (``\\x1b``, ``\\r``, ``\\u202e``).  ``kept`` are control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _written_out(c) for c in text)


ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # such as a colour
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # such as a title, or a link
    r"|\x1b[ -/]*[0-~]"
)
"""A whole escape sequence: without its first character the rest would appear as text."""


def sanitised(text: str) -> str:
    """The text of an exception as it is stored: without secrets and escape sequences."""
    return masked(ESCAPE.sub("", text))


def _written_out(character: str) -> str:
    if unicodedata.category(character) == "Zs":  # such as a space that does not break
        return " "
    return character.encode("unicode_escape").decode()


def say(text: str) -> None:
    """Print data for people to stdout, at once."""
    print(printable(without_secrets(text)), flush=True)


class Masked(logging.Formatter):
    """Masks secrets and escapes control characters in messages and exceptions.

    A message logged with ``extra=ON_PURPOSE`` keeps its secrets: it exists to show one.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return printable(text if hasattr(record, "on_purpose") else masked(text))


def to_stderr(level: int = logging.INFO, prefix: str = "") -> None:
    """Send the package's log to stderr, and Optuna's only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Masked(f"%(asctime)s {prefix}%(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    logging.getLogger("optuna").setLevel(logging.WARNING)


def first(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first ``most`` items, and say how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def brief(reason: str, letters: int) -> str:
    """A reason as part of a line: without line breaks, or what moves a terminal's cursor."""
    line = "".join(c if c.isprintable() else " " for c in ESCAPE.sub("", reason))
    return shorten(line, letters, placeholder=" …")
