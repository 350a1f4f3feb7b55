"""The changes that docs/extending shows to contributors apply, and the tests in them pass."""

import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jinja2 import ChoiceLoader, DictLoader

from tests.pages import DOCS, ROOT, blocks, name
from tuner.report.html.document import ENVIRONMENT

PAGES = sorted((DOCS / "extending").glob("*.md"))


def shown(page: Path) -> str:
    """Return the change that a page shows."""
    return "".join(block.text for block in blocks(page) if block.kind == "diff")


@pytest.fixture
def overlay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Path], None]]:
    """Run a file in the place of a module, which is restored after the test."""
    before = []

    def run(module_name: str, path: Path) -> None:
        if importlib.util.find_spec(module_name) is None:  # a new one
            spec = importlib.util.spec_from_file_location(module_name, path)
            module = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, module_name, module)
        else:
            module = importlib.import_module(module_name)
            before.append((vars(module), dict(vars(module))))
        exec(compile(path.read_text(), path, "exec"), vars(module))

    yield run
    for namespace, names in before:
        namespace.clear()
        namespace.update(names)


@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)], ids=name)
def test_a_shown_change_applies_and_its_tests_pass(page, tmp_path, overlay, monkeypatch, request):
    paths = re.findall(r"^\+\+\+ b/(.*)$", shown(page), re.MULTILINE)
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).exists():
            shutil.copy(ROOT / path, tmp_path / path)
    subprocess.run(["git", "apply", "-"], input=shown(page), text=True, cwd=tmp_path, check=True)
    (test_path,) = [path for path in paths if path.startswith("tests/")]
    for path in paths:
        if path.endswith(".j2"):
            changed = DictLoader(
                {path.removeprefix("tuner/report/"): (tmp_path / path).read_text()}
            )
            loaders = ChoiceLoader([changed, ENVIRONMENT.loader])
            monkeypatch.setattr(ENVIRONMENT, "loader", loaders)
        elif path != test_path:
            overlay(path.removesuffix(".py").replace("/", "."), tmp_path / path)
    tests: dict[str, object] = {"__name__": "shown"}
    exec(compile((tmp_path / test_path).read_text(), test_path, "exec"), tests)
    added = re.findall(r"^\+def (test_\w+)", shown(page), re.MULTILINE)
    assert added
    for each in added:
        wanted = inspect.signature(tests[each]).parameters
        tests[each](**{fixture: request.getfixturevalue(fixture) for fixture in wanted})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_page_has_an_example_that_is_run(page):
    assert shown(page) or any(block.kind == "bash" for block in blocks(page))
