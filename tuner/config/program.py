"""Import the program of ``--app FILE[:FUNCTION]``, and find its ``@hydra.main`` function."""

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
    """A function decorated with ``@hydra.main``, and the decorator's arguments."""

    function: Callable[[DictConfig], Any]
    attribute: str
    """Its name in the module."""
    file: Path
    config_path: str | None
    config_name: str | None
    base: Version
    """The ``version_base`` of the application."""

    @property
    def name(self) -> str:
        """``FILE:FUNCTION`` in canonical form; relative if below the current directory."""
        here = Path.cwd().resolve()
        below = self.file.is_relative_to(here)
        file = self.file.relative_to(here) if below else self.file
        return f"{file}:{self.attribute}"

    @property
    def config_dir(self) -> Path | None:
        """The application's configuration directory; None for a package or configs in code."""
        if self.config_path is None or self.config_path.startswith("pkg://"):
            return None
        return self.file.parent / self.config_path


@functools.cache
def load(app: str) -> Main:
    """Import the application and return its function.

    Decorators below ``@hydra.main`` are part of the returned function; those above it, which wrap
    the whole program, are not.

    Raises:
        ConfigError: It cannot be imported, or has no such function.
    """
    where, _, name = app.partition(":")
    module, base = _module(where)
    found = {n: main for n, f in vars(module).items() if (main := _hydra_main(f))}
    named = {n: main for n, main in found.items() if name in ("", n, main.__name__)}
    if len({id(main) for main in named.values()}) != 1:
        known = ", ".join(found) or "none"
        wanted = f"a function {name!r}" if name else "one function"
        raise ConfigError(
            f"--app {app}: expected {wanted} with @hydra.main, got {known}",
            hint=f"--app {where}:FUNCTION",
        )
    attribute, main = next(iter(named.items()))
    said = inspect.getclosurevars(main).nonlocals
    task = said["task_function"]
    file = Path(inspect.getfile(inspect.unwrap(task))).resolve()
    return Main(task, attribute, file, said["config_path"], said["config_name"], base)


def _module(where: str) -> tuple[ModuleType, Version]:
    """Return the module of a file or a dotted name, and its ``version_base``."""
    try:
        if where.endswith(".py"):
            if not Path(where).is_file():
                raise ConfigError(f"--app {where}: no such file", hint="--app=FILE.py, from here")
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
    """Import a file once per process, under a name by which its classes can be pickled.

    The name is ``__main__`` only for the running program.
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
    """Return the module of that name if it was imported from the file."""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    return module if origin is not None and Path(origin).resolve() == file else None


def _executed(file: Path, name: str) -> ModuleType:
    """Execute a file as a module of this name, or of a longer one if the name is taken."""
    if name in sys.modules:  # taken by another file
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
    """Return the directory from which a module is imported, and its name, dotted in a package."""
    root, names = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        root, names = root.parent, [root.name, *names]
    return root, ".".join(names)


def _hydra_main(found: object) -> FunctionType | None:
    """Return the function that ``@hydra.main`` returned, also below decorators with ``wraps``."""
    while found is not None and not _is_hydra_main(found):
        found = getattr(found, "__dict__", {}).get("__wrapped__")
    return cast(FunctionType | None, found)


def _is_hydra_main(found: object) -> bool:
    code = getattr(found, "__code__", None)
    file, name = getattr(code, "co_filename", None), getattr(code, "co_name", None)
    return (file, name) == (hydra.main.__code__.co_filename, "decorated_main")
