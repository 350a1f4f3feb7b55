"""``hydra/sweeper=tuner``: how the sweep of a Hydra application is configured and run."""

import json
import logging
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.pages import EXAMPLES
from tuner.config import sweeper
from tuner.errors import ConfigError
from tuner.study import study
from tuner.study.study import Study

APP = """
import os
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from tuner import objective

OmegaConf.register_new_resolver("twice", lambda x: 2 * x)  # a second time it raises


@hydra.main(version_base="1.3", config_path="conf", config_name="main")
def main(cfg):
    saved = objective.run_dir() / "epoch.txt"
    done = int(saved.read_text()) if saved.exists() else 0
    for epoch in range(done + 1, 4):
        saved.write_text(str(epoch))
        with open("epochs.txt", "a") as journal:
            journal.write(f"{epoch}\\n")
        if cfg.dies and epoch == 2 and not done:
            os.kill(os.getpid(), 9)
        objective.report(epoch, accuracy=cfg.x)
    return cfg.x


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    directory = tmp_path / "an application"
    (directory / "conf").mkdir(parents=True)
    (directory / "app.py").write_text(APP)
    (directory / "conf/main.yaml").write_text("x: 0.5\ndies: false\n")
    return directory


def ran(there: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *words], cwd=there, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def swept(there: Path, *words: str, code: int = 0) -> str:
    """What the application's own command line prints to stderr, searched by our sweeper."""
    return ran(there, "app.py", "-m", "hydra/sweeper=tuner", *words, code=code).stderr


def searched(there: Path, name: str = "app") -> Study:
    return study.load(f"sqlite:///{there}/runs/tuner.db", name, grace=60, patience=5)


@pytest.mark.slow
def test_a_job_that_changes_the_directory_is_resumed(there):
    """By Hydra's own setting; its files and ours lie in one run directory, and none is lost."""
    settings = "hydra.sweeper.settings={study.n_trials: 2, launch.workers: 1, sampler: random}"
    swept(there, settings, "hydra.job.chdir=true", "x=interval(0,1)", "dies=true")
    directories = list((there / "runs/app/trials").iterdir())
    assert len(directories) == 2
    for directory in directories:
        assert (directory / "epochs.txt").read_text().split() == ["1", "2", "3"], "not redone"
        kept = (directory / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in kept] == [1, 3]
    states = Counter(t.state.name for t in searched(there).optuna.get_trials())
    assert states == {"COMPLETE": 2, "FAIL": 2}


THEIRS = """
defaults:
  - override hydra/sweeper: optuna
  - override hydra/sweeper/sampler: tpe
  - _self_
hydra:
  sweeper:
    sampler: {seed: 123, n_startup_trials: 3, consider_prior: true, multivariate: false}
    direction: [minimize, maximize]
    study_name: both
    storage: null
    n_trials: 4
    n_jobs: 1
    max_failure_rate: 0.0
    params:
      x: range(0, 1, step=0.1)
      y: choice(-5, 0, 5)
x: 0.3
y: 0
"""
SPHERE = """
import hydra


@hydra.main(version_base=None, config_path="conf", config_name="main")
def both(cfg) -> tuple[float, float]:
    return cfg.x**2 + cfg.y**2, cfg.x


if __name__ == "__main__":
    both()
"""


GRID = """
defaults:
  - override hydra/sweeper: tuner
  - override hydra/sweeper/sampler: grid
  - _self_
hydra:
  sweeper:
    direction: minimize
    study_name: sphere
    storage: null
    n_trials: 20
    experiment_sequence: hydra_plugins.hydra_optuna_sweeper._impl.OptunaExperimentSequence
    params:
      x: choice(-1, 1)
      y: range(-1.0, 1.0, step=1)
      z: choice("foo", "bar")
x: 1
y: 1
z: foo
"""


@pytest.mark.slow
def test_their_example_of_a_grid_changes_one_line(there):
    (there / "app.py").write_text(
        SPHERE.replace(" -> tuple[float, float]", "").replace(", cfg.x\n", "\n")
    )
    (there / "conf/main.yaml").write_text(GRID)
    ran(there, "app.py", "--multirun")
    tried = [t.params for t in searched(there, "sphere").optuna.get_trials()]
    assert len(tried) == 8
    assert {(p["x"], p["y"], p["z"]) for p in tried} == {
        (x, y, z) for x in (-1, 1) for y in (-1, 0) for z in ("foo", "bar")
    }


@pytest.mark.slow
def test_an_application_of_hydra_optuna_sweeper_changes_one_line(there):
    """Its keys, its sampler, its two directions for a tuple, a grid in decimals."""
    (there / "app.py").write_text(SPHERE)
    (there / "conf/main.yaml").write_text(THEIRS)
    told = ran(there, "-m", "tuner", "check", "--app=app.py", "x=interval(0,1)", code=2).stderr
    assert told.endswith("; hint: use hydra/sweeper: tuner instead\n")
    (there / "conf/main.yaml").write_text(THEIRS.replace("sweeper: optuna", "sweeper: tuner"))
    done = ran(there, "app.py", "--multirun")
    printed = next(line for line in done.stdout.splitlines() if line.startswith("best:"))
    assert printed == "best:      tuner train $(tuner best both --overrides)"
    trials = searched(there, "both").optuna.get_trials()
    assert len(trials) == 4
    for t in trials:
        said = dict(text.split("=") for text in t.user_attrs["overrides"])
        assert len(said["x"]) == 3, said
        assert t.values == [float(said["x"]) ** 2 + float(said["y"]) ** 2, float(said["x"])]
    words = ran(there, "-m", "tuner", "best", "both", "--overrides").stdout.split()
    assert words[0] == "--app=app.py:both"
    again = json.loads(ran(there, "-m", "tuner", "train", *words).stdout)
    assert [again["value_0"], again["value_1"]] in [t.values for t in trials]
    final = next(line for line in done.stdout.splitlines() if line.startswith("final:"))
    words = shlex.split(final.removeprefix("final:"))[1:]
    few = ("final.seeds=1", "final.finalists=1")
    told = ran(there, "-m", "tuner", *words, *few).stdout
    assert f"final:     value_0 {again['value_0']:g}" in told
    assert [d.name for d in searched(there, "both").optuna.directions] == ["MINIMIZE", "MAXIMIZE"]


@pytest.mark.slow
def test_a_mistake_is_told_before_any_work(there):
    told = swept(there, "hydra.sweeper.n_trails=3", "hydra.sweeper.study.dirction=x", code=2)
    assert told == "error: hydra.sweeper.n_trails: unknown key; hint: did you mean 'n_trials'?\n"
    told = swept(there, "hydra.sweeper.study.dirction=x", "x=interval(0,1)", code=2)
    assert "hint: did you mean 'study.direction'?" in told
    assert not (there / "runs").exists()


@pytest.mark.slow
def test_sections_are_said_below_the_sweeper_as_anywhere_else(there):
    """By the command line, in one search of two trials."""
    below = {
        "study": "{n_trials: 2, direction: minimize, metric: accuracy}",
        "sampler": "random", "pruner": "median", "pruner.n_warmup_steps": "2",
        "budget.hours": "1", "launch.workers": "1", "study.name": "mine",
    }  # fmt: skip
    words = [f"hydra.sweeper.{key}={value}" for key, value in below.items()]
    unused = "hydra.sweep.subdir=run_${hydra.job.num}"
    swept(there, *words, unused, "+worker.heartbeat=1", "x=interval(0,1)")
    found = searched(there, "mine")
    assert len(found.optuna.get_trials()) == 2
    asked = found.attrs["command"]
    for said in (
        "worker.heartbeat=1",
        "budget.hours=1",
        "pruner.n_warmup_steps=2",
        "study.direction=minimize",
    ):
        assert said in asked, asked


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"params": {"x": "interval(0, 1)", "y": 3, "z": [1, 2]}},
         ["x=interval(0, 1)", "y=3", "z=[1,2]"]),
        ({"settings": {"study": {"n_trials": 40}, "launch.workers": 2}, "seed": 3},
         ["study.n_trials=40", "launch.workers=2", "seed=3"]),
        ({"study": {"objectives": {"size": "minimize"}, "name": "my study"}, "pruner": "median"},
         ["pruner=median", "study.objectives={size:minimize}", "study.name='my study'"]),
        ({"sampler": {"n_startup_trials": 3}, "budget": {"hours": 0.5}, "study": {"dir": None}},
         ["budget.hours=0.5", "sampler.n_startup_trials=3", "study.dir=null"]),
        ({"n_trials": 3, "n_jobs": 2, "study_name": "a", "storage": None, "direction": "minimize"},
         ["launch.workers=2", "study.n_trials=3", "study.name=a", "study.direction=minimize",
          "study.metric=value"]),
        ({"storage": "sqlite:///a b.db", "direction": ["maximize"], "study": {"metric": "loss"}},
         ["storage.url='sqlite:///a b.db'", "study.metric=loss", "study.direction=maximize"]),
        ({"storage": {"_target_": "optuna.storages.RDBStorage", "url": "sqlite:///a.db"},
          "direction": "minimize"},
         ["storage.url='sqlite:///a.db'", "study.direction=minimize", "study.metric=value"]),
        ({"sampler": {"_target_": "optuna.samplers.NSGAIISampler", "seed": 1, "population_size": 9},
          "direction": "maximize"},
         ["sampler=nsga2", "seed=1", "++sampler.population_size=9", "study.direction=maximize",
          "study.metric=value"]),
        ({"sampler": {"_target_": "optuna.samplers.MOTPESampler", "n_ehvi_candidates": 9},
          "direction": "minimize",
          "experiment_sequence": "hydra_plugins.hydra_optuna_sweeper._impl.Sequence"},
         ["sampler=optuna_tpe", "++sampler.n_ei_candidates=9", "study.direction=minimize",
          "study.metric=value"]),
        ({"pruner": {"_target_": "optuna.pruners.NopPruner"}, "direction": "minimize"},
         ["pruner=none", "study.direction=minimize", "study.metric=value"]),
    ],
)  # fmt: skip
def test_what_is_said_becomes_overrides(written, said):
    assert sweeper.overrides(written) == said


def test_an_option_that_only_optunas_class_has_is_passed_over(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tuner"), "propagate", True)
    written = {"_target_": "optuna.samplers.RandomSampler", "consider_endpoints": True, "typo": 1}
    said = sweeper.overrides({"sampler": written, "direction": "minimize"})
    assert [text for text in said if text.startswith("++")] == ["++sampler.typo=1"]
    assert (
        "hydra.sweeper.sampler.consider_endpoints: sampler=random has no such argument; "
        "it is ignored"
    ) in caplog.text


def test_hydras_plus_is_for_keys_that_are_new_to_the_application():
    typed = ["+study.direction=minimize", "++sampler=random", "+new=1", "+studyroom=2", "x=1"]
    said = ["study.direction=minimize", "sampler=random", "+new=1", "+studyroom=2", "x=1"]
    assert sweeper.strip_plus(typed) == said


@pytest.mark.parametrize(
    ("written", "cure"),
    [
        ({"n_trials": 20}, "minimises by default, and tuner maximises; hint: hydra.sw"),
        ({"n_trials": 20, "direction": []}, "minimises by default"),
        ({"sampler": {"_target_": "my.Own", "a": 1}}, "hint: write its _target_ to conf"),
        ({"storage": {"_target_": "optuna.storages.JournalStorage"}}, "hint: storage.url=sqlite"),
        ({"search_space": {"x": {"type": "float"}}}, "hint: use hydra.sweeper.params"),
        ({"custom_search_space": "a.b"}, "hint: write conditions as mappings in conf"),
        ({"params": {"model": {"small": {}}}}, "params.model: a mapping is a condition; hint:"),
        ({"params": ["x"]}, "params: expected a mapping, got ['x']"),
        ({"settings": {"studdy.name": "x"}}, "settings.studdy.name: not a section of tuner"),
        ({"study": {"n_trials": 3}, "settings": {"study.n_trials": 4}}, "is set twice"),
        ({"direction": ["minimize"] * 2, "study": {"objectives": {"a": "minimize"}}},
         "hint: direction=minimize"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_with_its_cure(written, cure):
    with pytest.raises(ConfigError) as caught:
        sweeper.overrides(written)
    assert cure in str(caught.value)


def test_the_options_are_there():
    """Each class of Optuna's that we know has an option of ours that builds it, or its like."""
    conf = EXAMPLES.parent / "conf"
    there = {path.stem for group in ("sampler", "pruner") for path in (conf / group).iterdir()}
    assert set(sweeper.OPTIONS.values()) <= there
    assert {key.partition(".")[0] for key in sweeper.RENAMED.values()} <= sweeper.OPERATIONAL
