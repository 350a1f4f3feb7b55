"""A configuration reproduces its value although its objective draws random numbers."""

import importlib
import json
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.trial import FrozenTrial

from tests.conftest import Project
from tuner.config import signatures
from tuner.config.composition import Source
from tuner.errors import Preempted
from tuner.final.retrain import result
from tuner.final.trainings import open_trainings
from tuner.report.summary import summarise
from tuner.study import create, plan
from tuner.study.attempts import HISTORY, REQUEUE
from tuner.study.plan import Plan
from tuner.worker import loop, random_state, trial

DRAWN = (random.random, np.random.rand, lambda: torch.rand(1).item(), np.random.normal)
interrupted: list[float] = []


def draw(x: float, interrupt: bool, *, report: Callable[..., None]) -> float:
    """All that it returns is drawn, and the first attempt is interrupted after that."""
    value = x + sum(each() for each in DRAWN)
    report(1, accuracy=value)
    if interrupt and not interrupted:
        interrupted.append(value)
        raise Preempted("a signal")
    return value


def own(x: float, *, seed: int, report: Callable[..., None]) -> float:
    return float(np.random.default_rng(seed).normal(x))


def other(x: float, *, seed: str = "none", report: Callable[..., None]) -> float:
    return float(seed == "none")


def source(directory: Path, function: str, more: str = "") -> Source:
    path = directory / "conf/objective/drawn.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"_target_: tests.worker.test_random_state.{function}\nx: 0.5\n{more}")
    return Source((directory / "conf",))


def asked(directory: Path, function: str, *overrides: str, more: str = "") -> Plan:
    args = [f"storage.url='sqlite:///{directory}/s.db'", f"study.dir='{directory}/runs'"]
    space = ["objective=drawn", "space=none", "objective.x=interval(0,1)", "sampler=random"]
    args += [*space, "study.n_trials=3", "pruner=none", *overrides]
    return plan.load(source(directory, function, more), args).require()


def searched(asked: Plan) -> list[FrozenTrial]:
    study = create.open_study(asked)
    assert loop.work(asked, study) == 0
    return [t for t in study.optuna.trials if REQUEUE not in t.system_attrs]


def again(asked: Plan, overrides: list[str], directory: Path) -> object:
    """As ``tuner train`` followed by a trial's overrides."""
    cfg = plan.load(asked.source, overrides, search=False).require().cfg
    return trial.run(cfg, run_dir=directory / "again", report=lambda *a, **m: None)


@pytest.mark.parametrize("seed", [0, 7, -1, 2**40])
def test_all_generators_start_anew_from_any_seed(seed):
    def drawn() -> list[float]:
        with random_state.seeded(seed):
            return [each() for each in DRAWN]

    first = drawn()
    assert drawn() == first
    with random_state.seeded(seed + 1):
        assert not {each() for each in DRAWN} & {*first}


def test_torch_is_seeded_once_the_objective_imports_it_and_is_not_imported_before(
    tmp_path, monkeypatch
):
    """With a torch of two lines: the real one can be loaded but once in a process."""
    (tmp_path / "torch.py").write_text("seeds = []\nmanual_seed = seeds.append\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch")
    finders = [*sys.meta_path]
    with random_state.seeded(3):
        assert "torch" not in sys.modules
    assert sys.meta_path == finders
    with random_state.seeded(4):
        assert importlib.import_module("torch").seeds == [4]
    assert sys.meta_path == finders
    with random_state.seeded(5):
        assert importlib.import_module("torch").seeds == [4, 5]


def test_an_objective_may_find_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    with random_state.seeded(1), pytest.raises(ModuleNotFoundError):
        importlib.import_module("torch")


def test_a_trial_repeats_to_the_last_bit_after_an_interruption_too(tmp_path):
    interrupted.clear()
    search = asked(tmp_path, "draw", more="interrupt: true\n")
    trials = searched(search)
    assert len({t.value for t in trials}) == 3
    for each in trials:
        assert each.user_attrs["seeded"]
        overrides = ["objective=drawn", "space=none", *each.user_attrs["overrides"]]
        assert again(search, overrides, tmp_path) == each.value
    second = [t.value for t in trials if t.system_attrs.get(HISTORY)]
    assert second == interrupted, "it drew what the first attempt had"


def test_the_seeds_of_a_final_training_reach_the_objective(tmp_path):
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        search = asked(tmp_path / name, "draw", "study.n_trials=1", more="interrupt: false\n")
        searched(search)
        study = create.open_study(search)
        rows = summarise(study.optuna).ranking
        trainings = open_trainings(search, study, rows, maximize=True)
        assert trainings.work() == 0
        results.append(result(trainings).values)
    assert len({*results[0]}) == 3
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("function", "more", "taken"),
    [("own", "", True), ("own", "seed: 3\n", False), ("other", "", False), ("draw", "", False)],
)
def test_only_a_seed_that_is_wanted_and_not_given_is_handed(tmp_path, function, more, taken):
    cfg = source(tmp_path, function, more).compose(["objective=drawn", "space=none"])
    assert signatures.takes_seed(cfg.objective) == taken


def test_threads_are_handed_seeds_and_the_generators_that_they_share_left_alone(tmp_path, caplog):
    state = random.getstate()
    with caplog.at_level(logging.WARNING):
        trials = searched(asked(tmp_path, "own", "worker.concurrency=2"))
    assert random.getstate() == state
    assert not any(t.user_attrs["seeded"] for t in trials)
    for each in trials:
        seed = int(each.user_attrs["overrides"][-1].removeprefix("seed="))
        assert each.value == np.random.default_rng(seed).normal(each.params["objective.x"])
    assert "seed" not in caplog.text


def test_threads_that_are_handed_no_seed_are_told_of(tmp_path, caplog):
    more = "interrupt: false\n"
    with caplog.at_level(logging.WARNING):
        searched(asked(tmp_path, "draw", "worker.concurrency=2", "study.n_trials=1", more=more))
    assert "take `seed` for generators of your own" in caplog.text


DYING = """
import os
from pathlib import Path


def train(x: float, *, report) -> float:
    import numpy as np
    import torch  # by nothing before

    value = x + np.random.rand() + torch.rand(1).item()
    report(1, accuracy=value)
    if not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return value
"""


@pytest.mark.slow
def test_the_printed_line_repeats_a_trial_whose_worker_was_killed(project: Project):
    (project.directory / "toy.py").write_text(DYING)
    (project.directory / "conf/objective/toy.yaml").write_text("_target_: toy.train\nx: 0.5\n")
    asked = ("space=none", "objective.x=interval(0,1)", "study.n_trials=1", "launch.workers=1")
    project.run("tune", *asked)
    _, trial = project.study().optuna.trials  # the first was killed
    words = project.run("best", "--overrides", *asked).split()
    repeated = json.loads(project.run("train", *words))
    assert repeated["accuracy"] == trial.value
