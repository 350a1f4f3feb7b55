"""``--app`` imports a file once, however it is named, and finds its ``@hydra.main``."""

import calendar
import importlib.util
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tuner.config import program
from tuner.config.composition import Source
from tuner.errors import ConfigError

ONCE = """
import hydra
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("once", lambda: 1)  # a second time it raises


class Net:
    pass


@hydra.main(version_base="1.2", config_path=None, config_name=None)
def main(cfg):
    return 0.5
"""


@pytest.fixture
def there(tmp_path, monkeypatch) -> Iterator[Path]:
    """A directory where one works, with a program in it; what is imported there is forgotten."""
    (tmp_path / "once.py").write_text(ONCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    program.load.cache_clear()
    program._imported.cache_clear()
    OmegaConf.clear_resolver("once")


def test_a_file_is_imported_once_however_it_is_named(there):
    """Our own compositions in between set another version of Hydra's behaviour."""
    names = ["once.py", "once.py:main", "./once.py", str(there / "once.py"), "once", "once:main"]
    found = []
    for name in names:
        found.append(program.load(name))
        Source().compose([])
    assert len(set(found)) == 1
    assert str(found[0].base) == "1.2"
    net = found[0].function.__globals__["Net"]
    assert pickle.loads(pickle.dumps(net)) is net


def test_the_program_that_runs_is_not_imported_again(there, monkeypatch):
    """As under ``hydra/sweeper=tuner``."""
    spec = importlib.util.spec_from_file_location("__main__", there / "once.py")
    running = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(running)
    monkeypatch.setitem(sys.modules, "__main__", running)
    assert program.load("once.py").function is running.main.__wrapped__


def test_a_file_may_have_the_name_of_another_module(there):
    """Its classes can be pickled within the process nevertheless."""
    (there / "calendar.py").write_text(ONCE)
    net = vars(program._imported(there / "calendar.py")[0])["Net"]
    assert pickle.loads(pickle.dumps(net)) is net
    assert sys.modules["calendar"] is calendar


def test_a_file_that_failed_is_imported_anew(there):
    """And not taken for imported, half of it."""
    (there / "once.py").write_text(ONCE + "\nmissing\n")
    with pytest.raises(ConfigError, match="NameError"):
        program.load("once.py")
    OmegaConf.clear_resolver("once")
    (there / "once.py").write_text(ONCE)
    assert program.load("once.py").name == "once.py:main"


DECORATED = """
import hydra
from wrapping import logged


@logged
@hydra.main(version_base="1.3", config_path="conf", config_name="main")
def above(cfg):
    return cfg["x"]


@hydra.main(version_base="1.3", config_path="conf", config_name="main")
@logged
def below(cfg):
    return cfg["x"]


def called(cfg):
    return cfg["x"]


command = hydra.main(version_base="1.3", config_path="conf", config_name="main")(called)
"""
LOGGED = """
import functools


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **keywords):
        return function(*args, **keywords)

    return wrapper
"""


@pytest.mark.parametrize("name", ["above", "below", "called", "command"])
def test_a_main_is_found_under_decorators_and_by_any_name(there, name):
    (there / "decorated.py").write_text(DECORATED)
    (there / "wrapping.py").write_text(LOGGED)
    found = program.load(f"decorated.py:{name}")
    assert program.load(found.name) == found
    assert (found.file, found.config_dir) == (there / "decorated.py", there / "conf")
    assert found.function({"x": 0.25}) == 0.25
