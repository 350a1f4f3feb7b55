"""Real studies for the tests of the report, in all states that a study can have."""

import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from tuner.report.commands import Commands, shared
from tuner.report.configurations import Row
from tuner.report.summary import Summary

C, P, F, R, W = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.FAIL,
    TrialState.RUNNING,
    TrialState.WAITING,
)
START = datetime(2026, 1, 5, 12)
NOW = START + timedelta(seconds=400)
HOSTILE = "</script></pre><script>window.owned=1</script><img src=x onerror=window.owned=1>&\"'"
SPACE = {
    "optimizer": CategoricalDistribution(["sgd", "adamw"]),
    "optimizer.lr@sgd": FloatDistribution(1e-3, 1, log=True),
    "optimizer.lr@adamw": FloatDistribution(1e-5, 1e-2, log=True),
    "model.width": IntDistribution(16, 128, log=True),
    "model.norm": CategoricalDistribution([True, False]),
    "loss.weights": CategoricalDistribution([None, "balanced"]),
    "model.layers": IntDistribution(3, 3),
}


def final_record(**told: Any) -> dict[str, Any]:
    """``final.json`` as `tuner final` writes it."""
    return {"seeds": [0], "metrics": [], "models": [], "overrides": [], **told}


def new_study(directory: Path, name: str = "digits", direction: str = "maximize") -> Study:
    """An empty study on SQLite, with the attributes that `tuner tune` stores."""
    storage = optuna.storages.get_storage(f"sqlite:///{directory}/a b.db")
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    study.set_user_attr("metric", "val_accuracy")
    study.set_user_attr("seed", 7)
    study.set_user_attr("n_trials", 24)
    study.set_user_attr(
        "space",
        [
            {
                "name": name,
                "key": name.partition("@")[0],
                "distribution": str(kind),
                "condition": f"optimizer={name.partition('@')[2]}" if "@" in name else None,
            }
            for name, kind in SPACE.items()
        ],
    )
    study.set_user_attr("config", "seed: 7\nmodel:\n  width: 32\n")
    return study


def add(
    study: Study,
    state: TrialState,
    curve: list[float],
    *,
    params: dict[str, Any] | None = None,
    retry_of: int | None = None,
    start: float = 0,
    seconds: float = 10,
    **attrs: Any,
) -> None:
    """Add one trial whose epochs reported ``curve``, ``start`` seconds after START."""
    params = params or {}
    valued = state in {TrialState.COMPLETE, TrialState.PRUNED} and curve and curve[-1] == curve[-1]
    trial = optuna.create_trial(
        state=state,
        value=curve[-1] if valued else None,
        params=params,
        distributions={name: SPACE[name] for name in params},
        intermediate_values=dict(enumerate(curve, start=1)),
        user_attrs=attrs,
        system_attrs={} if retry_of is None else {"failed_trial": retry_of},
    )
    if state != TrialState.WAITING:
        trial.datetime_start = START + timedelta(seconds=start)
    if state.is_finished():
        trial.datetime_complete = START + timedelta(seconds=start + seconds)
    study.add_trial(trial)


class Known(Commands):
    """As of a command whose search has stored all that lies in the study."""

    def train_line(self, row: Row) -> str:
        return shlex.join(["tuner", "train", *shared(row.stored)]) if row.stored else ""

    def tune_line(self, summary: Summary) -> str:
        command = summary.attrs.get("command")
        return "" if command is None else shlex.join(["tuner", "tune", *command])


def full_study(directory: Path, trials: int = 24) -> Study:
    """A study with every fate: conditional parameters, retries, prunes, failures, running."""
    study = new_study(directory)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.PRUNED]
    for number in range(trials):
        branch = "sgd" if number % 3 else "adamw"
        params = {
            "optimizer": branch,
            f"optimizer.lr@{branch}": 1e-3 * (1 + number % 5),
            "model.width": 16 + 4 * (number % 20),
            "model.norm": number % 2 == 0,
            "loss.weights": None if number % 4 else "balanced",
            "model.layers": 3,
        }
        top = 0.9 + 0.09 * ((number * 7) % 11) / 11
        state = states[number % 4]
        length = 10 if state == TrialState.COMPLETE else 2 + number % 3
        curve = [top - 0.5 / (epoch + 1) for epoch in range(length)]
        overrides = [f"{name.partition('@')[0]}={value}" for name, value in params.items()]
        add(
            study,
            state,
            curve,
            params=params,
            start=6 * number,
            overrides=overrides,
            metrics={"val_accuracy": curve[-1], "val_loss": 0.1},
            device="cpu",
            worker="w0",
        )
    add(study, TrialState.FAIL, [0.3], start=300, reason="worker lost")
    add(study, TrialState.COMPLETE, [0.3, 0.6], start=320, retry_of=trials)
    add(study, TrialState.PRUNED, [0.2], start=330, reason="diverged")
    add(
        study,
        TrialState.FAIL,
        [],
        start=340,
        reason="ValueError: bad shape",
        traceback="Traceback (most recent call last):\n  postgresql://me:secret@host/db\n",
    )
    add(study, TrialState.RUNNING, [0.4, 0.5], start=345, device="cuda:0", worker="host-1")
    add(study, TrialState.WAITING, [])
    return study
