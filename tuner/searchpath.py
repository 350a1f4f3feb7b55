"""``hydra.searchpath`` as directories, wherever it is written: then their options are known too."""

import codecs
import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from tuner.errors import ConfigError
from tuner.schema import closest

KEY = "hydra.searchpath"


def directories(entries: Sequence[str]) -> list[Path]:
    """The directories of ``file://…``, ``pkg://…`` or plain entries; ``ConfigError`` if unknown."""
    return [_directory(entry) for entry in entries]


def declared(primary: Path) -> list[Path]:
    """Those that a primary configuration names itself."""
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

    Hydra does not see the ``# @package`` in its first line then, and says nothing.
    """
    for directory in directories:
        for group, name in chosen.items():
            file = directory / group / f"{name}.yaml"
            with suppress(OSError, ValueError), file.open("rb") as text:
                if text.read(3) == codecs.BOM_UTF8:
                    raise ConfigError(
                        f"{file}: begins with a byte-order mark, behind "
                        "which Hydra sees no `# @package`",
                        hint="save it as UTF-8 without one",
                    )


def holding(file: str) -> str:
    """The directory here that has such a file and is not searched; empty if none has."""
    try:
        return next((str(d) for d in _directories(Path()) if (d / file).is_file()), "")
    except OSError:
        return ""


def beside(directory: Path) -> str:
    """The directory that a wrong name may be a typo of, empty if none is near."""
    try:
        return closest(directory.name, [d.name for d in _directories(directory.parent)])
    except OSError:
        return ""


def _directories(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir())
