from datetime import datetime, timedelta

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tests.algorithms.test_encoding import TREE
from tests.algorithms.test_tpe import EPOCHS, FINITE, SPACE, best, searched
from tuner.algorithms.rung_scores import Scoreboard
from tuner.algorithms.samplers.forest import Forest, chosen
from tuner.algorithms.samplers.refits import MOST_ROWS, last_fit
from tuner.study.fidelity import LENGTH

SETTINGS = {
    **{"n_startup_trials": 8, "n_candidates": 64, "least": 3, "good": 0.05, "width": 0.5},
    **{"trees": 8, "cost": "none"},
}
LINE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def sampler(space=SPACE, seed=0, scoreboard=None, **settings):
    return Forest(space, seed, scoreboard, **{**SETTINGS, **settings})


def told(study, x, y, *, epochs=EPOCHS, curve=(), value=None, state=TrialState.COMPLETE, **attrs):
    study.add_trial(
        create_trial(
            state=state,
            params={"x": x, "y": y},
            distributions=LINE,
            value=value,
            intermediate_values={k + 1: v for k, v in enumerate(curve)},
            system_attrs={LENGTH: epochs},
            user_attrs=attrs,
        )
    )


def proposed(study, made, space, count=20):
    """What several workers would be proposed at once."""
    study.sampler = made
    return [study.ask(space).params for _ in range(count)]


def test_it_beats_random_on_a_toy():
    ours = best(searched(sampler(seed=1), trials=50, seed=1))
    assert ours < 0.7 * best(searched(optuna.samplers.RandomSampler(1), trials=50, seed=1))


def test_proposals_are_in_the_space_and_of_active_branches_only():
    study = optuna.create_study(direction="maximize", sampler=sampler(TREE))
    for _ in range(30):
        trial = study.ask()
        TREE.suggest(trial)
        study.tell(trial, trial.params["width"] + len(trial.params))
    for trial in study.trials:
        assert {name.split("@")[1] for name in trial.params if "@" in name} <= {trial.params["opt"]}
        assert all(
            d._contains(d.to_internal_repr(trial.params[n])) for n, d in trial.distributions.items()
        )


def test_a_seed_is_a_search_and_another_is_another():
    runs = [[t.params for t in searched(sampler(seed=s), trials=25).trials] for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert not any(params in runs[2] for params in runs[0])


def test_it_goes_on_the_same_when_resumed():
    """The trees are those of the last refit, which a process that starts between refits repeats."""
    storage = optuna.storages.InMemoryStorage()

    def run(anew: bool) -> list[dict]:
        name = str(anew)
        optuna.create_study(storage=storage, study_name=name)
        kept = sampler(TREE)
        for _ in range(23):
            made = sampler(TREE) if anew else kept
            study = optuna.load_study(study_name=name, storage=storage, sampler=made)
            trial = study.ask()
            TREE.suggest(trial)
            study.tell(trial, float(trial.params["width"]))
        return [t.params for t in study.trials]

    assert run(anew=True) == run(anew=False)


def test_trees_are_shared_by_the_samplers_of_a_worker(monkeypatch):
    fits = []
    fit = Forest._fit
    monkeypatch.setattr(Forest, "_fit", lambda self, table: fits.append(1) or fit(self, table))
    study, scoreboard = optuna.create_study(), Scoreboard()
    for seed in range(21):
        study.sampler = sampler(LINE, seed, scoreboard)
        trial = study.ask(LINE)
        study.tell(trial, trial.params["x"])
    assert len(fits) == 13  # of 8 to 20 trials, and not of 7


def test_refits_get_rarer():
    assert [last_fit(n, 8) for n in (7, 8, 9, 35, 36)] == [None, 8, 9, 34, 36]
    fits = {last_fit(n, 8) for n in range(8, 1001)}
    assert len(fits) < 150
    assert max(fits) > 950


def test_of_many_trials_the_best_and_the_latest_are_fitted():
    places = np.linspace(1, 0, 3 * MOST_ROWS)
    places[5] = np.nan
    found = chosen(places)
    assert len(found) == len(set(found)) == MOST_ROWS
    assert {0, 1, len(places) - 1} <= set(found)
    assert 5 not in found


@pytest.mark.parametrize("fate", ["constant", "pruned", "infinite", "one", "failed"])
def test_what_tells_nothing_is_no_obstacle(fate):
    study = optuna.create_study(direction="maximize")
    rng = np.random.default_rng(0)
    for _ in range(1 if fate == "one" else 12):
        point = dict(zip("xy", rng.random(2), strict=True))
        if fate in ("constant", "one"):
            told(study, **point, curve=[0.5] * EPOCHS, value=0.5)
        elif fate == "infinite":
            told(study, **point, curve=[np.inf, np.nan], value=np.inf)
        elif fate == "pruned":
            told(study, **point, curve=[0.1], state=TrialState.PRUNED, reason_kind="pruned")
        else:
            told(study, **point, state=TrialState.FAIL)
    found = proposed(study, sampler(LINE, cost="epochs"), LINE)
    assert all(0 <= p["x"] <= 1 and 0 <= p["y"] <= 1 for p in found)
    assert len({p["x"] for p in found}) > 5


def test_it_learns_from_pruned_and_from_running_trials():
    study = optuna.create_study(direction="maximize")
    for k, x in enumerate(np.linspace(0, 1, 20)):
        curve = [x * step for step in range(1, 5)]
        state = TrialState.PRUNED if k % 2 else TrialState.RUNNING
        told(study, x, (7 * x) % 1, curve=curve, state=state, reason_kind="pruned")
    assert np.mean([p["x"] for p in proposed(study, sampler(LINE), LINE)]) > 0.75


def test_what_diverges_is_avoided():
    study = optuna.create_study(direction="maximize")
    for x in np.linspace(0, 1, 24):
        y = (7 * x) % 1
        if x > 0.5:
            told(study, x, y, curve=[0.9], state=TrialState.PRUNED, reason_kind="diverged")
        else:
            told(study, x, y, curve=[0.5 + 0.01 * y] * EPOCHS, value=0.5 + 0.01 * y)
    found = proposed(study, sampler(LINE), LINE)
    assert np.mean([p["x"] > 0.5 for p in found]) < 0.25


def gains(study, cost):
    """Of a cheap and of a dear configuration."""
    made = sampler(LINE, cost=cost)
    table = made.scoreboard.table(study, made.encoding)
    good, bad = made._densities(*made.split(table))
    rows = np.array([[0.1, 0.95], [0.9, 0.95]])
    return made._gain(rows, table, good, bad, np.random.default_rng(0)) - made.costs.log(
        rows, table
    )


@pytest.mark.parametrize("cost", ["epochs", "seconds"])
def test_gains_are_divided_by_the_root_of_the_cost(cost):
    """The score depends on y alone, the cost on x."""
    study = optuna.create_study(direction="maximize")
    start = datetime(2026, 1, 1)
    for k in range(64):
        x, y = (k % 8) / 7, (k // 8) / 7
        times = (10 if x < 0.5 else 100) if cost == "seconds" else 10
        epochs = (10 if x < 0.5 else 100) if cost == "epochs" else 10
        told(study, x, y, epochs=epochs, curve=[y] * 3, value=y)
        frozen = study._storage.get_trial(k)
        frozen.datetime_start = start
        frozen.datetime_complete = start + timedelta(seconds=3 * times)
        study._storage._set_trial(k, frozen)
    study.ask()
    cheap, dear = gains(study, cost) - gains(study, "none")
    assert cheap - dear == pytest.approx(np.log(10) / 2, rel=0.2)


def test_a_finite_space_is_tried_whole_before_anything_is_tried_twice():
    study = optuna.create_study(sampler=sampler(FINITE))
    for _ in range(36):
        trial = study.ask(FINITE)
        study.tell(trial, trial.params["b"] + trial.params["c"])
    assert len({tuple(t.params.values()) for t in study.trials}) == 36
    assert study.ask(FINITE).params.keys() == FINITE.keys()


def test_several_objectives_are_left_to_optunas():
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(TREE))
    for _ in range(14):
        trial = study.ask()
        TREE.suggest(trial)
        study.tell(trial, [trial.params["width"], trial.params["drop"]])
    assert len({t.params["width"] for t in study.trials}) > 5
