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
    """Return a text that is safe to print: characters that are not printable are escaped.

    Texts from a database or a file may contain characters that move the cursor, hide a line or
    reverse the direction of writing (``\\x1b``, ``\\r``, ``\\u202e``). Control characters in
    ``kept`` are not escaped.
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
    """Return the text of an exception for storage, without secrets and escape sequences."""
    return masked(ESCAPE.sub("", text))


def _written_out(character: str) -> str:
    if unicodedata.category(character) == "Zs":  # such as a space that does not break
        return " "
    return character.encode("unicode_escape").decode()


def say(text: str) -> None:
    """Print data for users to stdout and flush it."""
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
    """Return a reason shortened to one line, without line breaks and control characters."""
    line = "".join(c if c.isprintable() else " " for c in ESCAPE.sub("", reason))
    return shorten(line, letters, placeholder=" …")
