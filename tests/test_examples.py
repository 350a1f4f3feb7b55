"""The examples run, small, by the commands that their README tells."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner import study

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture
def example(tmp_path):
    """Runs shell commands in a copy of an example; returns what they wrote to stdout."""

    def run(name: str, *commands: str) -> str:
        there = tmp_path / name
        if not there.exists():
            shutil.copytree(EXAMPLES / name, there)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-ec", "\n".join(commands)], cwd=there, capture_output=True, text=True,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


SMALL = "study.n_trials=3 launch.workers=1 sampler=random"


def test_a_plain_function(example):
    out = example("function", f"tuner tune --config-dir conf experiment=function {SMALL}")
    assert "best:" in out


def test_a_network_and_data_of_ones_own(example):
    flags = "--config-dir conf experiment=own_model"
    small = "trainer.epochs=2 final.seeds=1"
    out = example(
        "own_model",
        f"tuner tune {flags} {SMALL} {small}",
        f"tuner final {flags} {small}",
    )
    assert "best:" in out
    assert "final:     accuracy" in out


def test_a_directory_of_images(example):
    out = example(
        "images",
        "python make.py pictures 12",
        "tuner train data=image_folder data.root=pictures data.size=16 data.channels=1"
        " data.workers=0 data.validation=0.25 data.test=0.25 data.augment.cutout=2"
        " trainer.epochs=2 model.width=4",
    )
    assert 0 <= json.loads(out)["accuracy"] <= 1


def test_scikit_learns_estimators(example, tmp_path):
    example(
        "scikit_learn",
        f"tuner tune --config-dir conf experiment=scikit_learn {SMALL} study.n_trials=6"
        " objective.epochs=2 'objective=choice(sgd,forest)'",
    )
    url = f"sqlite:///{tmp_path}/scikit_learn/runs/tuner.db"
    found = study.load(url, "scikit_learn", grace=60, patience=5).optuna.get_trials()
    assert {t.params["objective"] for t in found} == {"sgd", "forest"}


def test_a_hydra_application(example):
    out = example(
        "hydra_app",
        f"tuner tune --app app.py space=app epochs=2 {SMALL}",
        "tuner best --json --app app.py",
    )
    assert json.loads(out.splitlines()[-1])["params"]


@pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="pip install 'tuner[lightning]'"
)
def test_a_lightning_module_reports_and_resumes(example, tmp_path):
    flags = "--config-dir conf experiment=lightning_module objective.epochs=3"
    out = example(
        "lightning_module",
        f"tuner tune {flags} {SMALL} study.n_trials=1",
        f"tuner train {flags} --run-dir again objective.epochs=2",
        f"tuner train {flags} --run-dir again objective.epochs=3",
    )
    assert "best:" in out
    url = f"sqlite:///{tmp_path}/lightning_module/runs/tuner.db"
    (trial,) = study.load(url, "lightning_module", grace=60, patience=5).optuna.get_trials()
    assert sorted(trial.intermediate_values) == [1, 2, 3]
