"""Check, before any work, that files can be written to directories."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from tuner.errors import ConfigError, Mistake

RUN = re.compile(r"\d+-[0-9a-f]{8}")
"""Names of run directories, as created by ``tuner.study.run_files.directory``."""

LONGEST_NAME = 200
"""Maximum length in bytes: names derived from it are longer, and most file systems allow 255."""

DirectoryOption = tuple[str, str | Path]
"""The key or option that names a directory, and the directory."""


def probe(named: Iterable[DirectoryOption]) -> None:
    """Raise ``ConfigError`` with all problems of the directories."""
    if found := refusals(named):
        raise ConfigError(found)


def refusals(named: Iterable[DirectoryOption]) -> list[Mistake]:
    """Return an error for each key with a directory that cannot be written to."""
    found: dict[str, Mistake] = {}
    for key, directory in named:
        if key not in found and (reason := obstacle(Path(directory))):
            found[key] = Mistake(key, reason, f"set {key}=… to another directory")
    return list(found.values())


def obstacle(directory: Path) -> str | None:
    """Return why no file can be written to a directory, which may not exist yet; None if one can.

    An unnamed file is written, because checking permissions is not sufficient.
    """
    path = directory.absolute()
    there = next(p for p in (path, *path.parents) if os.path.lexists(p))
    if not there.is_dir():
        return f"{there} is a file, expected a directory"
    longest = os.pathconf(there, "PC_NAME_MAX")
    if too_long := [part for part in path.parts if len(os.fsencode(part)) > longest]:
        return f"{too_long[0][:20]}… exceeds {longest} bytes, the limit of its file system"
    try:
        with TemporaryFile(dir=there) as file:
            file.write(b"probe")
            file.flush()
    except OSError as error:
        return f"{path} cannot be written to ({error.strerror or error})"
    return None


def misnamed(key: str, name: str) -> list[Mistake]:
    """Return why no directory can have the name, the value of ``key``; empty if one can."""
    found = []
    if not name.strip(". ") or re.search(r"[/\\\x00-\x1f]", name):
        told = f"{name!r} cannot be the name of a directory"
        found.append(Mistake(key, told, "use a name without slashes"))
    if (size := len(os.fsencode(name))) > LONGEST_NAME:
        hint = f"at most {LONGEST_NAME} bytes; most letters other than a to z take 2 to 4"
        found.append(Mistake(key, f"is too long for the name of a directory: {size} bytes", hint))
    return found


def check_output(output: Path, key: str) -> None:
    """Check that an output file can be written, and may be replaced.

    Args:
        output: The file.
        key: The key or option that names it, for messages.

    Raises:
        ConfigError: The file cannot be written, or must not be replaced.
    """
    if (size := len(os.fsencode(output.name))) > LONGEST_NAME:
        told, most = f"its name has {size} bytes", f"at most {LONGEST_NAME}"
        raise ConfigError(told, key=key, hint=most)
    if output.is_dir():
        raise ConfigError(f"{output} is a directory", key=key, hint="name a file in it")
    if output.exists() and not output.is_file():
        told = f"{output} is a pipe or a device, expected a file"
        raise ConfigError(told, key=key, hint="name a file")
    probe([(key, output.parent)])


def of_run(study_dir: Path, stored: object) -> Path | None:
    """Return the stored run directory of a trial below its study's; None for any other.

    Others can write to the database, so other locations, and other names, are ignored.
    """
    name = Path(stored).name if isinstance(stored, str) else ""
    path = study_dir / "trials" / name
    if not RUN.fullmatch(name) or path.is_symlink():
        return None
    return path
