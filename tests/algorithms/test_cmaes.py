"""CMA-ES with recomputed state proposes what Optuna's does, and unpickles nothing."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import Study, Trial
from optuna._transform import _SearchSpaceTransform
from optuna.samplers import CmaEsSampler
from optuna.trial import TrialState, create_trial

from tuner.algorithms import experimental_warnings
from tuner.algorithms.samplers.cmaes import CmaEs


def objective(trial: Trial) -> float:
    x, y = trial.suggest_float("x", -3, 3), trial.suggest_int("y", 1, 64)
    z = trial.suggest_float("z", 1e-3, 1, log=True)
    return (x - 1) ** 2 + (y / 8 - 2) ** 2 + z


def made(kind: type[CmaEsSampler], seed: int, **settings: Any) -> CmaEsSampler:
    with experimental_warnings.allowed():
        return kind(seed=seed, n_startup_trials=5, warn_independent_sampling=False, **settings)


def searched(kind: type[CmaEsSampler], n_trials: int, **settings: Any) -> Study:
    """With a sampler made anew for each trial, as a worker makes it."""
    study = optuna.create_study()
    for number in range(n_trials):
        study.sampler = made(kind, number, **settings)
        study.optimize(objective, n_trials=1)
    return study


def replayed(study: Study, before: int | None = None, **settings: Any) -> Any:
    """The state for trial number ``before``, or for the next."""
    sampler = made(CmaEs, 0, **settings)
    space = sampler.infer_relative_search_space(study, study.trials[-1])
    sampler._space = space
    ended = [t for t in sampler._get_trials(study) if before is None or t.number < before]
    sampler._restore_optimizer(ended)
    trans = _SearchSpaceTransform(
        space, transform_step=not settings.get("with_margin", False), transform_0_1=True
    )
    return sampler._init_optimizer(trans, study.direction)


@pytest.mark.parametrize("settings", [{}, {"lr_adapt": True}, {"use_separable_cma": True}])
def test_the_state_is_the_one_that_optuna_would_have_unpickled(settings: dict[str, Any]) -> None:
    study = searched(CmaEsSampler, 40, **settings)
    stored = [t for t in study.trials if any("optimizer" in key for key in t.system_attrs)]
    latest = stored[-1]
    pieces = {k: v for k, v in latest.system_attrs.items() if "optimizer:" in k}
    order = sorted(pieces, key=lambda key: int(key.rpartition(":")[2]))
    theirs = pickle.loads(bytes.fromhex("".join(pieces[key] for key in order)))
    ours = replayed(study, latest.number, **settings)
    assert ours.generation == theirs.generation >= 3
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9)
    assert ours._sigma == pytest.approx(theirs._sigma)


@pytest.mark.parametrize("settings", [{}, {"with_margin": True}])
def test_it_evolves_and_stores_no_pickle(settings: dict[str, Any]) -> None:
    study = searched(CmaEs, 60, **settings)
    noted = {key for t in study.trials for key in t.system_attrs}
    assert not [key for key in noted if "optimizer" in key]
    assert replayed(study, **settings).generation >= 5
    late = [t.value for t in study.trials[40:] if t.value is not None]
    early = [t.value for t in study.trials[:20] if t.value is not None]
    assert np.median(late) < np.median(early)


class Planted:
    """What a pickle can do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_lies_in_a_trial_is_run(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    study = searched(CmaEs, 12)
    planted = {
        "cma:optimizer:0": pickle.dumps(Planted(owned)).hex(),
        "cma:generation": 0,
        "x_for_tell": ["evil"],
    }
    best = study.best_trial
    for values in ([0.0], [float("inf")]):
        trial = create_trial(
            state=TrialState.COMPLETE, values=values, params=best.params,
            distributions=best.distributions, system_attrs=planted,
        )  # fmt: skip
        study._storage.create_new_trial(study._study_id, trial)
    assert not made(CmaEs, 0)._is_sound(create_trial(values=[0.0, 0.0]))
    for margin in (False, True):
        study.sampler = made(CmaEs, 99, with_margin=margin)
        study.optimize(objective, n_trials=1)
    assert study.trials[-1].state == TrialState.COMPLETE
    assert not owned.exists()


def test_a_late_trial_changes_no_generation_of_the_past() -> None:
    study = searched(CmaEs, 40)
    before = replayed(study)
    late = study.trials[20]
    late.system_attrs = {"cma:generation": 0}
    late.values, late.datetime_complete = [-1e9], None
    study._storage.create_new_trial(study._study_id, late)
    np.testing.assert_array_equal(replayed(study).mean, before.mean)
