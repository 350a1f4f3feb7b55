"""What commands import, and what they say before they import much: they answer at once."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from tests.conftest import Project
from tuner import cli

LOOK = """
import sys
from tuner import cli
cli.main(sys.argv[1:])
print([name for name in {names} if name in sys.modules])
"""
TRAINER = ("torch", "scipy", "sklearn", "pandas", "plotly", "ray")
CONFIGURATION = ("hydra", "omegaconf", "alembic", "sqlalchemy.dialects.postgresql")
NOT_TO_LOOK = (*TRAINER, *CONFIGURATION, "numpy.random")


def look(there: Path, *words: str, names: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; its last line names which libraries it imported."""
    line = [sys.executable, "-c", LOOK.format(names=names), *words]
    return subprocess.run(line, cwd=there, capture_output=True, text=True, check=True)


def test_status_imports_neither_the_trainer_nor_the_statistics(tmp_path: Path) -> None:
    done = look(tmp_path, "status", names=TRAINER)
    assert "there is no database" in done.stderr  # the configuration has been read by then
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("status mine", "0.5"),
        ("status --all", "0.5"),
        ("study list", "0.5"),
        ("best mine", "0.5"),
        ("trials mine", "0.5"),
        ("compare mine mine", "0.5"),
        ("report mine", "report.html"),
    ],
)
def test_a_study_that_is_named_is_looked_at_without_its_configuration(
    tmp_path: Path, command: str, shown: str
) -> None:
    study = optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path}/studies.db")
    space = {"x": optuna.distributions.IntDistribution(1, 12)}
    study.add_trials(
        optuna.create_trial(value=x / 2, params={"x": x}, distributions=space) for x in range(1, 13)
    )
    place = "storage.url=sqlite:///studies.db"
    done = look(tmp_path, *command.split(), place, names=NOT_TO_LOOK)
    assert shown in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_training_and_prediction_import_neither_statistics_nor_networks_they_do_not_use(
    tmp_path: Path,
) -> None:
    unwanted = ("sklearn", "scipy", "pandas", "torchvision", "torch._dynamo", "triton", "sympy")
    code = f"""
import sys
import tuner.cli.commands.worker, tuner.train.export.predictor
import tuner.train.engine, tuner.train.data.dataset
from torch import device, nn
from tuner.train.model.cnn import initialise
from tuner.train.model.structure_only import structure_only
with structure_only(), device("meta"):
    initialise(nn.Conv2d(1, 1, 3), "kaiming")
print([name for name in {unwanted} if name in sys.modules])
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_slow_command_says_at_once_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert cli.main(["check"]) == 130
    assert capsys.readouterr().err == "checking the configuration …\ninterrupted\n"


def test_a_process_searches_for_garbage_neither_in_what_it_imports_nor_at_its_exit(
    tmp_path: Path,
) -> None:
    code = """
import atexit, gc, importlib
from tuner import cli
load = importlib.import_module
def loaded(name):
    print(gc.isenabled())
    command = load(name)
    run = command.run
    command.run = lambda args: print(gc.isenabled(), gc.get_freeze_count() > 1000) or run(args)
    return command
importlib.import_module = loaded
atexit.register(lambda: print(gc.isenabled(), gc.get_count()[2], gc.get_freeze_count() > 1000))
cli.run()
"""
    line = [sys.executable, "-c", code, "study", "list", "--json"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    shown = ["False", "True", "True", "True", "0", "True"]
    assert done.stdout.split() == shown, done.stdout + done.stderr


def test_check_searches_for_garbage_in_nothing_that_the_objective_imports(
    project: Project,
) -> None:
    toy = project.directory / "toy.py"
    toy.write_text(f"KEPT = [[] for _ in range(500_000)]\n{toy.read_text()}")
    code = (
        "import gc, sys; from tuner import cli; cli.main(); print(gc.get_freeze_count() > 500_000)"
    )
    line = [sys.executable, "-c", code, "check", *Project.DEFAULTS]
    done = subprocess.run(line, cwd=project.directory, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True", done.stdout + done.stderr
