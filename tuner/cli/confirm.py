"""Ask before something is removed."""

import sys

from tuner.errors import ConfigError
from tuner.log import printable


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether the user agrees; ``yes`` answers in advance.

    Raises:
        ConfigError: There is no terminal to ask the user.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        told = "cannot ask for confirmation without a terminal"
        raise ConfigError(f"{told}: {question.rstrip('?')}", key="--yes", hint="--yes confirms it")
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False
