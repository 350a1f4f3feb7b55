"""Resolve ``hydra.searchpath``, wherever it is set, to directories whose options are known."""

import codecs
import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from tuner.config.types import closest
from tuner.errors import ConfigError

KEY = "hydra.searchpath"


def directories(entries: Sequence[str]) -> list[Path]:
    """Return the directories of ``file://…``, ``pkg://…`` or plain entries.

    Raises:
        ConfigError: An entry is unknown.
    """
    return [_directory(entry) for entry in entries]


def declared(primary: Path) -> list[Path]:
    """Return the directories of the ``hydra.searchpath`` in a primary configuration."""
    if not primary.is_file():
        return []
    named = OmegaConf.select(OmegaConf.load(primary), KEY)
    return directories(list(named or []))


def _directory(entry: str) -> Path:
    scheme, separator, rest = entry.rpartition("://")
    if scheme != "pkg" or not separator:
        return Path(rest)
    package = rest.rstrip("/").replace("/", ".")
    try:
        spec = importlib.util.find_spec(package)
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{entry}: no package {package!r}", key=KEY, hint="install it")
    return Path(next(iter(spec.submodule_search_locations)))


def refuse_marks(directories: Sequence[Path], chosen: Mapping[str, object]) -> None:
    """Raise ``ConfigError`` for an option (group → name) whose file begins with a byte-order mark.

    Hydra then silently ignores the ``# @package`` in its first line.
    """
    for directory in directories:
        for group, name in chosen.items():
            file = directory / group / f"{name}.yaml"
            with suppress(OSError, ValueError), file.open("rb") as text:
                if text.read(3) == codecs.BOM_UTF8:
                    raise ConfigError(
                        f"{file}: begins with a byte-order mark, so "
                        "Hydra ignores its `# @package` line",
                        hint="save it as UTF-8 without byte-order mark",
                    )


def holding(file: str) -> str:
    """Return a directory below this one that has the file but is not searched; empty if none."""
    try:
        return next((str(d) for d in _directories(Path()) if (d / file).is_file()), "")
    except OSError:
        return ""


def beside(directory: Path) -> str:
    """Return the existing directory with the most similar name; empty if none is similar."""
    try:
        return closest(directory.name, [d.name for d in _directories(directory.parent)])
    except OSError:
        return ""


def _directories(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir())
