"""The layout of the package: rooms in an order, imports that point down, a light front door."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tuner"

ROOMS = [  # a room may import rooms of later lines only, and the modules beside the rooms
    "cli",
    "api",
    "final",
    "report",
    "worker",
    "algorithms",
    "study",
    "space",
    "storage",
    "launch",
    "train",
    "config",
    "integrations",
]
MODULES = {"__init__", "__main__", "environment", "errors", "files", "log", "masking", "objective",
           "svg"}  # fmt: skip
TRAINER = {"bounds", "exported_json", "override_text", "types"}
"""All that the trainer uses of ``config``: it knows neither Hydra nor Optuna."""
DOORS = {
    "hydra": {"cli", "config", "space"},
    "optuna": {"cli", "api", "final", "report", "worker", "algorithms", "study", "storage"},
    "torch": {"train", "integrations"},
    "torchvision": {"train"},
    "sklearn": {"algorithms", "train"},  # takes 0.9 s: only for sampler.cost, and lost digits
}
"""Library → the rooms that import it."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


FILES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def room(module: str) -> str:
    """``study`` of ``tuner.study.plan``; the module itself where it lies in no room."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports(module: str) -> set[str]:
    return imports(FILES[module]) & FILES.keys() - {module}


def test_there_are_thirteen_rooms_each_with_its_purpose():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    assert len(ROOMS) == 13
    for name in ROOMS:
        assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())), name
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == MODULES
    assert len(modules - {"__init__"}) <= 8


@pytest.mark.parametrize("name", ROOMS)
def test_imports_point_down(name):
    allowed = {name, *ROOMS[ROOMS.index(name) + 1 :], *MODULES} - {"__main__"}
    for module in FILES:
        if room(module) == name:
            for target in own_imports(module):
                assert room(target) in allowed, f"{module} imports {target}, which is above it"


def test_modules_beside_the_rooms_import_no_room():
    for module in FILES.keys() - {"tuner", "tuner.__main__"}:
        if room(module) in MODULES:
            assert {room(target) for target in own_imports(module)} <= MODULES, module


def test_the_trainer_is_reached_by_target_alone_and_knows_little():
    for module in FILES:
        used = own_imports(module)
        if room(module) == "train":
            config = {target.split(".")[2] for target in used if room(target) == "config"}
            assert config <= TRAINER, module
            roots = {name.split(".")[0] for name in imports(FILES[module])}
            assert not roots & {"optuna", "hydra", "omegaconf"}, module
        elif module not in {"tuner", "tuner.api.final"}:  # which have tuner.load
            assert not [target for target in used if room(target) == "train"], module


def test_integrations_run_in_the_processes_of_other_libraries_and_know_the_trial_alone():
    for module in FILES:
        used = {room(target) for target in own_imports(module)}
        if room(module) == "integrations":
            assert used <= {"integrations", "objective", "errors"}, module
        else:
            assert "integrations" not in used, module


def test_files_and_sub_rooms_have_no_cycles():
    def part(module: str) -> str:
        """The sub-room of a module; the module itself where it lies in none."""
        return ".".join(module.split(".")[:3])

    for name in (str, part):
        edges: dict[str, set[str]] = {}
        for module in FILES:
            here = {name(target) for target in own_imports(module)} - {name(module)}
            edges.setdefault(name(module), set()).update(here)
        graphlib.TopologicalSorter(edges).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("library", DOORS)
def test_a_library_enters_by_few_doors(library):
    users = {
        room(module)
        for module, path in FILES.items()
        if library in {name.split(".")[0] for name in imports(path)}
    }
    assert users <= DOORS[library]


def test_the_front_door_is_light():
    code = "import sys, tuner.cli; print([m for m in ('torch', 'ray', 'plotly', 'optuna', 'hydra')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_no_nameless_modules():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}
