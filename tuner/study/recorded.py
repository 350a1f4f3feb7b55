"""The command line of a search, stored in the study's directory on each machine that searched.

A command that gets only the name of a study, but needs the configuration of the search, composes it
from this file. The command line stored in the database is never used for that: anybody who can
write to the database could use it to run arbitrary code.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tuner.errors import ConfigError
from tuner.files import replace
from tuner.study.location import SECRET
from tuner.study.plan import Plan

FILE = "command.json"


def keep(plan: Plan) -> None:
    """Write the command line of a plan to the study's directory, unless it is already there."""
    path = Path(plan.study.dir) / FILE
    text = json.dumps(words_of(plan), indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text)


def words_of(plan: Plan) -> list[str]:
    """Return the options and overrides of a plan, without those that locate databases."""
    given = [text for text in plan.overrides if not text.lstrip("+~").startswith(SECRET)]
    return [*plan.source.argv(), *given]


def words(directory: Path) -> Sequence[str] | None:
    """Return the options and overrides of the last search of a study on this machine.

    The result is None if it was never searched on this machine.

    Raises:
        ConfigError: The file is damaged.
    """
    path, found = directory / FILE, None
    reason = "expected a list of options and overrides"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        told = f"{path} cannot be read: {reason}"
        raise ConfigError(
            told, hint="remove it, and repeat the options and overrides of the search"
        )
    return found
