"""The program that ``--app FILE[:FUNCTION]`` names: imports the file and finds ``@hydra.main``."""

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

import hydra
from hydra.version import VersionBase
from omegaconf import DictConfig
from packaging.version import Version

from tuner.errors import ConfigError


@dataclass(frozen=True)
class Main:
    """A function under ``@hydra.main``, and what its decorator says."""

    function: Callable[[DictConfig], Any]
    attribute: str
    """What its module calls it."""
    file: Path
    config_path: str | None
    config_name: str | None
    base: Version
    """Whose version's behaviour the application asks of Hydra."""

    @property
    def name(self) -> str:
        """``FILE:FUNCTION``, the same however it was named; relative where it lies below here."""
        here = Path.cwd().resolve()
        below = self.file.is_relative_to(here)
        file = self.file.relative_to(here) if below else self.file
        return f"{file}:{self.attribute}"

    @property
    def config_dir(self) -> Path | None:
        """Where the application's configuration lies, unless it is in a package or in code."""
        if self.config_path is None or self.config_path.startswith("pkg://"):
            return None
        return self.file.parent / self.config_path


@functools.cache
def load(app: str) -> Main:
    """Import the application; ``ConfigError`` where it is none.

    Decorators below ``@hydra.main`` are a part of each job; those above it are not, as they wrap
    the whole program.
    """
    where, _, name = app.partition(":")
    module, base = _module(where)
    found = {n: main for n, f in vars(module).items() if (main := _hydra_main(f))}
    named = {n: main for n, main in found.items() if name in ("", n, main.__name__)}
    if len({id(main) for main in named.values()}) != 1:
        known = ", ".join(found) or "none"
        raise ConfigError(
            f"--app {app}: {name or 'one function'} under @hydra.main is wanted, and {where} has "
            f"{known}; hint: --app {where}:FUNCTION"
        )
    attribute, main = next(iter(named.items()))
    said = inspect.getclosurevars(main).nonlocals
    task = said["task_function"]
    file = Path(inspect.getfile(inspect.unwrap(task))).resolve()
    return Main(task, attribute, file, said["config_path"], said["config_name"], base)


def _module(where: str) -> tuple[ModuleType, Version]:
    """The module of a file or a dotted name, and the version that it asks of Hydra."""
    try:
        if where.endswith(".py"):
            if not Path(where).is_file():
                raise ConfigError(f"--app {where}: no such file; hint: --app=FILE.py, from here")
            return _imported(Path(where).resolve())
        spec = importlib.util.find_spec(where)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named {where!r}")
        return _imported(Path(spec.origin).resolve())
    except ConfigError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"--app {where}: cannot be imported: {reason}") from error


@functools.cache
def _imported(file: Path) -> tuple[ModuleType, Version]:
    """A file as a module that its classes can be pickled from, imported once in a process.

    As if it were run, but not as ``__main__``, unless it is what runs here.
    """
    root, dotted = _package(file)
    module = _known("__main__", file) or _known(dotted, file)
    if module is None:
        sys.path[:0] = [str(file.parent), str(root)]  # as Python does for a script
        module = importlib.import_module(dotted) if "." in dotted else _executed(file, dotted)
    base = VersionBase.instance().getbase()
    assert base is not None
    return module, base


def _known(name: str, file: Path) -> ModuleType | None:
    """The module of that name, if it was imported from the file."""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    return module if origin is not None and Path(origin).resolve() == file else None


def _executed(file: Path, name: str) -> ModuleType:
    """The module of a file, of whatever name."""
    if name in sys.modules:  # another one's
        name = f"{name} of {file.parent}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _package(file: Path) -> tuple[Path, str]:
    """The directory that a module is imported from, and by which name: a package's has dots."""
    root, names = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        root, names = root.parent, [root.name, *names]
    return root, ".".join(names)


def _hydra_main(found: object) -> FunctionType | None:
    """What ``@hydra.main`` made of a function, if it lies below decorators with ``wraps`` too."""
    while found is not None and not _is_hydra_main(found):
        found = getattr(found, "__dict__", {}).get("__wrapped__")
    return cast(FunctionType | None, found)


def _is_hydra_main(found: object) -> bool:
    code = getattr(found, "__code__", None)
    file, name = getattr(code, "co_filename", None), getattr(code, "co_name", None)
    return (file, name) == (hydra.main.__code__.co_filename, "decorated_main")
