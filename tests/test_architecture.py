"""The layers of the package: imports point down, no cycles, and `tuner` imports quickly."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tuner"

FLOORS = [  # a module may import its own floor only where ALLOWED says so, and any floor after it
    {"cli", "__main__"},
    {"commands"},
    {"dashboard", "final"},
    {"launch", "report"},
    {"worker"},
    {"trial"},
    {"fate"},
    {"reporter"},
    {"artifacts", "heart", "judge", "proposal", "provenance", "retention", "search", "sharing",
     "trouble"},
    {"study", "mirror"},
    {"claims"},
    {"admission", "prior"},
    {"clock", "limits", "pushes", "vetting"},
    {"pruners", "trackers"},
    {"samplers"},
    {"application", "sweeper"},
    {"leases", "plan", "storage"},
    {"queue", "scoreboard", "searched"},
    {"attempts", "edges", "grid", "mandatory"},
    {"sql"},
    {"config", "program", "rules"},
    {"binding", "grammar", "resolvers", "searchpath"},
    {"aims", "budget", "exported", "nodes", "space", "sweeps", "targets",
     "typos", "urls", "usage"},
    {"schema", "texts"},
    {"completion", "directories", "objective", "signals", "tracking"},
    {"bounds", "distributions", "errors", "log", "draw", "extras", "fingerprint",
     "history", "noise", "override_functions",
     "schedule", "seeds"},
    {"environment", "files", "masking", "mistakes", "resources"},
]  # fmt: skip
ALLOWED = {("__main__", "cli"), ("config", "grammar"), ("config", "binding")}


def modules() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found.setdefault(top, []).append(path)
    return found


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if module in floor)


def own_imports(path: Path) -> set[str]:
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("tuner.")}
    return {name for name in parts if name in modules()}


@pytest.mark.parametrize("module", sorted(set(modules()) - {"__init__", "train"}))
def test_imports_point_down(module):
    for path in modules()[module]:
        for target in own_imports(path) - {module, "__init__"}:
            assert target != "train", f"{path.name} imports train/; it is reached by _target_"
            down = floor_of(target) > floor_of(module) or (module, target) in ALLOWED
            assert down, f"{module} imports {target}, which is not below it"


def test_nothing_is_circular():
    known = {}
    for path in PACKAGE.rglob("*.py"):
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        known[dotted.removesuffix(".__init__")] = path
    edges = {name: imports(path) & (known.keys() - {name}) for name, path in known.items()}
    order = graphlib.TopologicalSorter(edges)
    order.prepare()  # raises CycleError, which names the cycle


def test_the_trainer_knows_only_the_bottom_floor():
    known = {"train", "environment", "files", "bounds", "errors", "exported", "draw", "log",
             "mistakes", "schema", "texts"}  # fmt: skip
    for path in modules()["train"]:
        assert own_imports(path) <= known, path
        assert not {n.split(".")[0] for n in imports(path)} & {"optuna", "hydra", "omegaconf"}, path


def test_the_search_knows_no_torch():
    for module in set(modules()) - {"train"}:
        for path in modules()[module]:
            roots = {name.split(".")[0] for name in imports(path)}
            assert not roots & {"torch", "torchvision"}, f"{path} imports torch"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("hydra", {"config", "grammar", "texts", "application", "override_functions", "program",
                   "sweeps"}),
        ("optuna", {"study", "admission", "attempts", "claims", "prior", "search",
                    "storage", "proposal", "trial", "worker", "provenance", "artifacts",
                    "report", "retention",
                    "dashboard", "sql", "reporter", "fate", "judge", "pruners",
                    "samplers", "schedule", "scoreboard", "vetting"}),
    ],
)  # fmt: skip
def test_a_library_enters_by_few_doors(library, allowed):
    users = {
        module
        for module, paths in modules().items()
        for path in paths
        if library in {name.split(".")[0] for name in imports(path)}
    }
    assert users <= allowed


def test_the_front_door_is_light():
    code = "import sys, tuner.cli; print([m for m in ('torch', 'ray', 'plotly', 'optuna', 'hydra')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_no_nameless_rooms():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}
