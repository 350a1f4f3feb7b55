"""The public API is declared, documented and sufficient: what we show to users imports no more."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuner
import tuner.objective
import tuner.train.data
from tests.pages import EXAMPLES, PAGES, ROOT, blocks, name

PUBLIC: list[ModuleType] = [tuner, tuner.objective, tuner.train.data]
NAMES = [(module, public) for module in PUBLIC for public in module.__all__]
INTEGRATIONS = ["lightning", "pytorch_lightning", "transformers"]
"""Libraries with a callback ``Report``; tests/integrations checks its documentation."""
ALL = {(module.__name__, public) for module, public in NAMES} | {
    *((f"tuner.integrations.{library}", "Report") for library in INTEGRATIONS),
    ("tuner.integrations.transformers", "last_checkpoint"),
}
INTERNAL = ("docs/picture.py", "docs/reference.py")
"""Scripts that make parts of the documentation, and are not shown in it."""


def shown() -> Iterator[tuple[str, str]]:
    """Where Python code is shown to users, and the code."""
    for page in [*PAGES, *EXAMPLES.rglob("*.md"), *(ROOT / "template").rglob("*.md")]:
        for block in blocks(page):
            if block.kind == "python":
                yield name(page), block.text
    for directory in ("examples", "template", "docs"):
        for path in sorted((ROOT / directory).rglob("*.py")):
            if name(path) not in INTERNAL:
                yield name(path), path.read_text()


def imported(code: str) -> set[tuple[str, str]]:
    """Modules of tuner that the code imports from, each with the imported or used name."""
    tree = ast.parse(code)
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tuner":
            found |= {(str(node.module), alias.name) for alias in node.names}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "tuner":
            found.add(("tuner", node.attr))
        if isinstance(node, ast.Import):
            inner = [a.name for a in node.names if a.name.startswith("tuner.")]
            found |= {(module, "") for module in inner}
    return found


def test_the_code_that_users_see_imports_public_names_only():
    found = {place: imported(code) - ALL for place, code in shown()}
    assert {place: names for place, names in found.items() if names} == {}


def test_the_configurations_that_users_see_name_public_targets_only():
    pages = [*PAGES, *EXAMPLES.rglob("*.md")]
    found = [block.text for page in pages for block in blocks(page) if block.kind == "yaml"]
    for directory in (EXAMPLES, ROOT / "template"):
        found += [path.read_text() for path in directory.rglob("*.yaml")]
    targets = {target for text in found for target in re.findall(r"_target_: (tuner\..+)", text)}
    assert targets
    assert targets <= {".".join(name) for name in ALL}


def test_private_imports_are_found():
    code = "import tuner\nimport tuner.cli\nfrom tuner.space import tree\ntuner.load(tuner.x)"
    assert imported(code) == {
        ("tuner", "load"), ("tuner", "x"), ("tuner.cli", ""), ("tuner.space", "tree"),
    }  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_what_is_declared_is_handed_out(module):
    handed_out: dict[str, object] = {}
    exec(f"from {module.__name__} import *", handed_out)
    assert sorted(handed_out.keys() - {"__builtins__"}) == sorted(module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = module.absent


def test_no_public_name_is_that_of_a_module():
    for module, public in NAMES:
        with pytest.raises(ImportError):
            importlib.import_module(f"{module.__name__}.{public}")


def test_importing_tuner_is_light():
    code = "import sys, tuner, tuner.objective, tuner.train.data; tuner.Bounds; tuner.Infeasible"
    heavy = "('torch', 'optuna', 'hydra', 'omegaconf', 'numpy')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print([m for m in {heavy} if m in sys.modules])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("module", "public"), NAMES, ids=[public for _, public in NAMES])
def test_public_names_are_documented(module, public):
    documented(getattr(module, public))


def documented(found: Any) -> None:
    """Check that a public function or class has an example, and a line for each parameter."""
    text = inspect.getdoc(found) or ""
    assert "\nExample:" in text
    called = found.__init__ if inspect.isclass(found) else found
    args = text.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for parameter in list(inspect.signature(called).parameters.values()):
        if parameter.name != "self":
            assert f"    {parameter.name}: " in args, parameter.name


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuner.Study]:
    """A directory, and in it the study of the example of ``tuner.search``."""
    directory = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        examples = doctest.DocTestFinder(recurse=False).find(tuner.search, "search", globs={})
        doctest.DocTestRunner(verbose=False).run(examples[0], clear_globs=False)
    return directory, examples[0].globs["study"]


@pytest.fixture
def study(searched: tuple[Path, tuner.Study], tmp_path: Path, monkeypatch) -> tuner.Study:
    """A copy of that study, in the current directory."""
    shutil.copytree(searched[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    copied = tuner.open("train")
    return tuner.Study(copied._record, copied.directory, searched[1]._asked)


@pytest.mark.parametrize(("module", "public"), NAMES, ids=[public for _, public in NAMES])
def test_examples_in_docstrings_run(module, public, study):
    run_examples(getattr(module, public), study=study)


def run_examples(found: Any, **names: object) -> None:
    """Run the examples of a docstring, and of a class's methods."""
    namespace = {**vars(sys.modules[found.__module__]), **names}
    finder = doctest.DocTestFinder(recurse=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    lacking = () if importlib.util.find_spec("pandas") else ("to_frame", "Study.curves")
    for test in finder.find(found, found.__name__, globs=namespace):
        if not test.name.endswith(lacking):
            assert runner.run(test).failed == 0
