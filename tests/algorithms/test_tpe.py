import threading

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from tests.algorithms.test_encoding import TREE
from tuner.algorithms.samplers.factory import is_small
from tuner.algorithms.samplers.tpe import Tpe
from tuner.config.composition import Source
from tuner.study import create, plan
from tuner.study.budget import Budget
from tuner.study.fidelity import LENGTH
from tuner.worker.proposal import Proposer

SETTINGS = {"n_startup_trials": 8, "n_candidates": 64, "least": 3, "good": 0.05, "width": 0.5}
SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "momentum": FloatDistribution(0.0, 0.99),
    "width": IntDistribution(8, 256, log=True),
    "depth": IntDistribution(1, 8),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "noise": FloatDistribution(0, 1),
}
EPOCHS = 9


def sampler(space=SPACE, seed=0, **settings):
    return Tpe(space, seed, **{**SETTINGS, **settings})


def loss(params) -> float:
    """Zero at the optimum, which is nobody's default; about 1.2 for a random configuration."""
    return (
        abs(np.log10(params["lr"]) + 2.5) / 2
        + abs(params["momentum"] - 0.9)
        + abs(np.log2(params["width"]) - 6.5) / 4
        + {"a": 0.0, "b": 0.3, "c": 0.5}[params["kind"]]
    )


def searched(made, trials=80, sign=1.0, seed=0, kill=True):
    """The study after trials whose curves end at ``loss``, run three at a time."""
    study = optuna.create_study(
        direction="minimize" if sign > 0 else "maximize", sampler=made, study_name="s"
    )
    running: list[optuna.Trial] = []
    rng = np.random.default_rng(seed)
    while len(study.trials) < trials or running:
        while len(running) < 3 and len(study.trials) < trials:
            running.append(study.ask(SPACE))
            study._storage.set_trial_system_attr(running[-1]._trial_id, LENGTH, EPOCHS)
        trial = running.pop(int(rng.integers(len(running))))
        step = len(study._storage.get_trial(trial._trial_id).intermediate_values) + 1
        value = sign * (loss(trial.params) + 1 / step)
        trial.report(value, step)
        seen = [t.intermediate_values[3] for t in study.get_trials(deepcopy=False)
                if 3 in t.intermediate_values]  # fmt: skip
        if step == EPOCHS:
            study.tell(trial, value)
        elif kill and step == 3 and sum(sign * v < sign * value for v in seen) > len(seen) / 3:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            running.append(trial)
    return study


def best(study) -> float:
    return min(loss(t.params) for t in study.get_trials(states=[TrialState.COMPLETE]))


@pytest.mark.parametrize(
    "kill",
    [pytest.param(True, id="pruned"), pytest.param(False, id="unpruned", marks=pytest.mark.slow)],
)
def test_it_beats_random_by_far_on_a_toy(kill):
    seeds = range(2)
    ours = [best(searched(sampler(seed=s), seed=s, kill=kill)) for s in seeds]
    rand = [best(searched(optuna.samplers.RandomSampler(s), seed=s, kill=kill)) for s in seeds]
    assert np.mean(ours) < 0.5 * np.mean(rand)


def test_maximising_is_minimising_the_negative():
    down, up = (searched(sampler(), trials=30, sign=sign) for sign in (1.0, -1.0))
    assert [t.params for t in down.trials] == [t.params for t in up.trials]


def test_it_goes_on_the_same_when_made_anew_for_each_trial():
    """As a worker does: no state but the study's; and a study that is loaded again goes on."""
    storage = optuna.storages.InMemoryStorage()

    def run(anew: bool) -> list[dict]:
        name = str(anew)
        optuna.create_study(storage=storage, study_name=name)
        kept = sampler(TREE)
        for _ in range(25):
            made = sampler(TREE) if anew else kept
            study = optuna.load_study(study_name=name, storage=storage, sampler=made)
            trial = study.ask()
            TREE.suggest(trial)
            study.tell(trial, float(trial.params["width"]))
        return [t.params for t in study.trials]

    assert run(anew=True) == run(anew=False)


def test_branches_are_sampled_with_what_they_depend_on():
    """The better branch is found, and within it its own optimum."""
    study = optuna.create_study(direction="maximize", sampler=sampler(TREE, 3))
    for _ in range(90):
        trial = study.ask()
        TREE.suggest(trial)
        p = trial.params
        value = {"sgd": 0.3, "adam": 0.6, "none": 0.0}[p["opt"]]
        if "lr@sgd" in p:
            value -= abs(np.log10(p["lr@sgd"]) + 1) / 3
        if "lr@adam" in p:
            value -= abs(np.log10(p["lr@adam"]) + 4) / 3
        study.tell(trial, value)
    late = study.trials[45:]
    assert sum(t.params["opt"] == "adam" for t in late) > len(late) / 2
    assert study.best_params["opt"] == "adam"
    assert study.best_params["lr@adam"] == pytest.approx(1e-4, rel=0.5)


def test_it_learns_from_trials_that_still_run_and_from_pruned_ones():
    """Nothing has completed, yet the good end is proposed."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study(direction="maximize", sampler=sampler(space))
    rng = np.random.default_rng(0)
    for k in range(20):
        study.enqueue_trial({"x": rng.random(), "y": rng.random()})
        trial = study.ask(space)
        study._storage.set_trial_system_attr(trial._trial_id, LENGTH, 90)
        for step in range(1, 11):
            trial.report(trial.params["x"] * step, step)
        if k % 2:
            study.tell(trial, state=TrialState.PRUNED)
    proposed = [study.ask(space).params["x"] for _ in range(20)]
    assert np.mean(proposed) > 0.75


@pytest.mark.parametrize("fate", ["infeasible", "diverged", "failed"])
def test_what_cannot_work_is_avoided(fate):
    """Half of the space cannot run; what runs scores the same everywhere."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study(direction="maximize", sampler=sampler(space))
    late = []
    for k in range(60):
        trial = study.ask(space)
        cannot = trial.params["x"] > 0.5
        if k >= 30:
            late.append(cannot)
        if not cannot:
            study.tell(trial, 0.5 + 0.01 * trial.params["y"])
        elif fate == "failed":
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.report(0.9, 1)
            trial.set_user_attr("reason", fate)
            study.tell(trial, state=TrialState.PRUNED)
    assert np.mean(late) < 0.25


FINITE = {
    "a": CategoricalDistribution(["p", "q", "r"]),
    "b": IntDistribution(1, 4),
    "c": FloatDistribution(0.0, 0.4, step=0.2),
}


def test_a_finite_space_is_tried_whole_before_anything_is_tried_twice():
    study = optuna.create_study(sampler=sampler(FINITE))
    for _ in range(36):
        trial = study.ask(FINITE)
        study.tell(trial, trial.params["b"] + trial.params["c"])
    assert len({tuple(t.params.values()) for t in study.trials}) == 36
    again = study.ask(FINITE)  # exhausted: the likeliest once more
    assert tuple(again.params.values()) in {tuple(t.params.values()) for t in study.trials}


def test_parallel_workers_never_take_the_same(tmp_path):
    """Real studies of several workers, which all ask at once, in a space of 24."""
    asked = plan.load(
        Source(),
        [
            f"storage.url='sqlite:///{tmp_path}/s.db'",
            *(
                "space=none",
                "model.activation=choice(relu,elu,gelu)",
                "study.enqueue_defaults=false",
            ),
            *("model.depth=int(interval(1,4))", "model.batch_norm=choice(true,false)"),
        ],
    ).require()
    create.open_study(asked)
    start = threading.Barrier(6)
    failed = []

    def work(name: str) -> None:
        try:
            opened = create.open_study(asked)
            opened.join(name, "cpu")
            start.wait()
            while True:
                claimed = opened.claim(name, budget=Budget(n_trials=24), max_retries=3)
                if claimed is None:
                    return
                trial = Proposer(asked, opened).open(claimed)
                asked.space.suggest(trial)
                trial.study.tell(trial, 1.0)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(f"w{k}",)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    trials = create.open_study(asked).optuna.get_trials()
    assert len(trials) == 24
    assert len({tuple(sorted(t.params.items())) for t in trials}) == 24
    assert is_small(asked.space)


def test_what_is_given_is_kept_and_the_rest_fits_it():
    """An enqueued option brings the parameters of its own branch."""
    study = optuna.create_study(direction="maximize", sampler=sampler(TREE))
    for _ in range(12):
        trial = study.ask()
        TREE.suggest(trial)
        study.tell(trial, 1.0 if trial.params["opt"] == "none" else 0.0)
    made = sampler(TREE)
    made.sample_independent = None  # would be asked for what was left out
    study.sampler = made
    study.enqueue_trial({"opt": "sgd", "nesterov@sgd": "yes"})
    trial = study.ask()
    TREE.suggest(trial)
    assert trial.params["opt"] == "sgd"
    assert trial.params["nesterov@sgd"] == "yes"
    assert {"lr@sgd", "m@sgd@yes", "width"} <= trial.params.keys()


def test_a_parameter_that_the_space_lacks_is_drawn_at_random():
    study = optuna.create_study(sampler=sampler({"x": FloatDistribution(0, 1)}))
    seen = set()
    for _ in range(4):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        seen |= {trial.suggest_float("other", 0, 1), trial.suggest_float("third", 0, 1)}
    assert len(seen) == 8


def test_several_objectives_are_left_to_optunas():
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(TREE))
    for _ in range(14):
        trial = study.ask()
        TREE.suggest(trial)
        study.tell(trial, [trial.params["width"], trial.params["drop"]])
    assert len({t.params["width"] for t in study.trials}) > 5


def test_a_seed_is_a_search_and_another_is_another():
    runs = [[t.params for t in searched(sampler(seed=s), trials=15).trials] for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert not any(params in runs[2] for params in runs[0])


def test_a_long_study_is_not_read_again_at_each_ask(monkeypatch):
    made = sampler()
    study = optuna.create_study(sampler=made)
    for row in made.encoding.snap(made.encoding.uniform(np.random.default_rng(0), 500)):
        params = made.encoding.params(row)
        study.add_trial(create_trial(value=1.0, params=params, distributions=SPACE))
    study.tell(study.ask(SPACE), 1.0)
    read = []
    row = made.encoding.row
    monkeypatch.setattr(made.encoding, "row", lambda params: read.append(params) or row(params))
    study.ask(SPACE)
    assert 1 <= len(read) <= 4
