"""One logger for the package: plain lines on stderr, or in a worker's own file."""

import logging
import sys
from textwrap import shorten

from tuner.masking import masked

log = logging.getLogger("tuner")


class Masked(logging.Formatter):
    """Leaves passwords out, of messages and of the exceptions beneath them."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def to_stderr(level: int = logging.INFO, prefix: str = "") -> None:
    """Send the package's log to stderr, and Optuna's only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Masked(f"%(asctime)s {prefix}%(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    logging.getLogger("optuna").setLevel(logging.WARNING)


def brief(reason: str, letters: int) -> str:
    """A reason as part of a line, without its hint: the whole of it is kept with the trial.

    Nor has it line breaks, or what moves a terminal's cursor.
    """
    line = "".join(c if c.isprintable() else " " for c in reason.partition(" (hint:")[0])
    return shorten(line, letters, placeholder=" …")
