"""Measure one decision of a pruner in a long study: ``python benchmarks/decision.py``.

The study is on SQLite, with a number of ended trials and 256 running ones, each of which has just
reported; the decision reads what is new. The result is the median CPU time in milliseconds of the
thread that decides.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parent.parent))
from tuner.algorithms.pruners.factory import Traded, build_pruner
from tuner.algorithms.pruners.merged_attempts import TrialPruner
from tuner.config import composition
from tuner.storage import database
from tuner.storage.trial_storage import Trials
from tuner.study.fidelity import LENGTH

RUNNING, EPOCHS, RUNG = 256, 36, 4


def trial(state: TrialState, value: float) -> FrozenTrial:
    """A trial that has come to the first rung, or to the end."""
    steps = EPOCHS if state == TrialState.COMPLETE else RUNG
    return create_trial(
        state=state,
        value=value if state.is_finished() else None,
        params={"x": value},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        intermediate_values={step: value * step / EPOCHS for step in range(1, steps + 1)},
        system_attrs={LENGTH: EPOCHS},
    )


def fill(opened: Trials, ended: int) -> None:
    study = optuna.create_study(storage=opened, study_name="long", direction="maximize")
    values = np.random.default_rng(0).random(ended + RUNNING)
    for place, value in enumerate(values):
        state = TrialState.COMPLETE if place % 8 == 0 else TrialState.PRUNED
        state = state if place < ended else TrialState.RUNNING
        opened.create_new_trial(study._study_id, trial(state, float(value)))


def decide(opened: Trials, pruner: BasePruner, decisions: int) -> float:
    study = Traded("long", opened, None, pruner)
    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])[: decisions + 1]
    taken = []
    for each in running:
        pruner = TrialPruner(Trial(study, each._trial_id))
        began = time.thread_time()
        pruner.should_prune()
        taken.append(time.thread_time() - began)
    return 1000 * median(taken[1:])  # the first reads the study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ended", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--pruners", nargs="*", default=["rungs", "median", "successive_halving"])
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for ended in args.ended:
        with tempfile.TemporaryDirectory() as directory:
            opened = database.connect(f"sqlite:///{directory}/study.db")
            fill(opened, ended)
            for name in args.pruners:
                cfg = composition.Source().compose(
                    [f"pruner={name}", f"trainer.epochs={EPOCHS // 3}"]
                )
                took = decide(opened, build_pruner(cfg), 40)
                print(f"{ended} ended, {RUNNING} running, {name}: {took:.1f} ms", flush=True)
            opened.close()


if __name__ == "__main__":
    main()
