"""Several objectives and constraints, from the objective's `report` to the study."""

import json

import optuna
import pytest
from optuna.trial import TrialState

from tests.conftest import Project
from tuner.launch import restarts

OBJECTIVE = """
def train(x: float, kind: str, epochs: int, *, report) -> float:
    size = round(1000 * x)
    report.note(parameters=size)
    for epoch in range(1, epochs + 1):
        with open("journal.txt", "a") as journal:
            journal.write(f"{size} {epoch} 0\\n")
        value = x * epoch / epochs if kind == "a" else 0.1 * x * epoch / epochs
        report(epoch, accuracy=value, loss=1 - value)
    return value
"""
DIE = """
import os, pathlib

def die(epoch):
    if epoch == 2 and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
"""
COSTLY = ["study.objectives={parameters:minimize}", "study.enqueue_defaults=false"]


@pytest.fixture
def costly(project: Project) -> Project:
    (project.directory / "toy.py").write_text(OBJECTIVE)
    (project.directory / "conf/objective/toy.yaml").write_text(
        "_target_: toy.train\nx: 0.5\nkind: a\nepochs: 4\n"
    )
    return project


def test_what_breaks_a_constraint_costs_no_epoch_and_is_never_the_best(costly):
    args = ["study.constraints={parameters:400}", "study.n_trials=24"]
    costly.call("worker", *args, "sampler=tpe", "sampler.n_startup_trials=6")
    sizes = [int(name) for name, _, _ in costly.journal()]
    assert sizes
    assert max(sizes) <= 400
    attempts = costly.study().attempts()
    broken = [t for t in attempts if t.state == TrialState.PRUNED]
    assert len(attempts) == 24
    assert broken
    assert all(t.intermediate_values == {} for t in broken)
    assert all("at most 400" in t.user_attrs["reason"] for t in broken)
    for t in attempts:
        assert t.constraints["parameters"] == t.user_attrs["facts"]["parameters"] - 400
    late = [t for t in attempts if t.number >= 12]
    assert sum(t.state == TrialState.PRUNED for t in late) < len(late) / 2, "the sampler learns"
    best = json.loads(costly.call("best", "--json"))
    assert best["facts"]["parameters"] <= 400


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_pruning_goes_by_the_metric_and_the_front_trades_both(costly, sampler):
    pruner = ["pruner=median", "pruner.n_startup_trials=4", "pruner.n_min_trials=2"]
    args = [*COSTLY, f"sampler={sampler}", *pruner, "pruner.n_warmup_steps=1"]
    costly.call("worker", *args, "study.n_trials=12")
    attempts = costly.study().attempts()
    pruned = [t for t in attempts if t.state == TrialState.PRUNED]
    done = [t for t in attempts if t.state == TrialState.COMPLETE]
    assert len(attempts) == len(pruned) + len(done) == 12
    assert pruned
    assert all(1 <= len(t.intermediate_values) < 4 for t in pruned), "their curves can be read"
    assert all(t.values[1] == round(1000 * t.params["objective.x"]) for t in done)
    front = json.loads(costly.call("best", "--pareto", "--json", *COSTLY))
    stock = optuna.load_study(study_name="toy", storage=costly.study().storage)
    assert stock.metric_names == ["accuracy", "parameters"]
    assert {row["number"] for row in front} == {t.number for t in stock.best_trials}


def test_what_is_told_of_several_objectives(costly):
    costly.call("tune", *COSTLY, "study.n_trials=8", "launch.workers=2")
    front = json.loads(costly.call("best", "--pareto", "--json", *COSTLY))
    assert front[0]["number"] == json.loads(costly.call("best", "--json", *COSTLY))["number"]
    assert set(front[0]["values"]) == {"accuracy", "parameters"}
    table = costly.call("best", "--pareto", *COSTLY)
    assert "parameters" in table
    assert len(table.splitlines()) == 1 + len(front)
    assert f"{front[0]['values']['parameters']:.6g}" in table, "no column is crushed at 80 cells"
    assert (costly.directory / costly.call("report", *COSTLY).strip()).is_file()
    assert "complete" in costly.call("status", *COSTLY)


def test_an_objective_that_was_never_told_is_named(costly):
    costly.call("tune", "study.objectives={latency:minimize}", "launch.workers=1", code=1)
    assert "did not report latency" in costly.stderr
    assert "report.note" in costly.stderr


def test_a_study_keeps_its_objectives_and_its_limits(costly):
    costly.call("worker", *COSTLY, "study.n_trials=1")
    for other in ("study.objectives={loss:minimize}", "study.constraints={parameters:9}"):
        rest = COSTLY if "constraints" in other else []
        costly.call("tune", *rest, other, code=2)
        assert "exists with other settings" in costly.stderr
    costly.call("worker", *COSTLY, "study.n_trials=2")


def test_a_multi_objective_trial_that_is_interrupted_goes_on(costly, monkeypatch):
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)
    dying = OBJECTIVE.replace("        report(epoch", "        die(epoch)\n        report(epoch")
    (costly.directory / "toy.py").write_text(dying + DIE)
    costly.call("tune", *COSTLY, "study.n_trials=2", "launch.workers=1")
    attempts = costly.study().attempts()
    assert [t.state for t in attempts] == [TrialState.COMPLETE] * 2
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4] for t in attempts)
