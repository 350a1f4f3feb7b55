"""``hydra.searchpath`` as directories, wherever it is written: then their options are known too."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from tuner.errors import ConfigError

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
        raise ConfigError(f"{KEY}: {entry}: no package {package!r}; hint: install it")
    return Path(next(iter(spec.submodule_search_locations)))
