"""Measure one proposal in a study of 100, 1,000 and 10,000 trials: tuner's samplers and Optuna's.

OMP_NUM_THREADS=1 python -m benchmarks.asking # about a minute; CPU time, in memory

The space has ten ranges and five choices; each trial has ten reports, and 256 more trials run.
"""

import statistics
import time
import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import create_trial

from benchmarks.strategies import settings
from tuner.algorithms.samplers.forest import Forest
from tuner.algorithms.samplers.tpe import Tpe

SPACE: dict[str, BaseDistribution] = {
    **{f"x{k}": FloatDistribution(0, 1) for k in range(10)},
    **{f"c{k}": CategoricalDistribution(["a", "b", "c"]) for k in range(5)},
}
ASKS = 25
RUNNING = 256


def study_of(count: int, sampler: BaseSampler) -> optuna.Study:
    """Return a study of finished random trials, a third of them pruned half-way."""
    study = optuna.create_study(sampler=sampler)
    rng = np.random.default_rng(0)
    for k in range(count):
        params = {f"x{i}": rng.random() for i in range(10)}
        params |= {f"c{i}": "abc"[rng.integers(3)] for i in range(5)}
        curve = {step: float(rng.random()) for step in range(1, 6 if k % 3 == 0 else 11)}
        state = optuna.trial.TrialState.PRUNED if k % 3 == 0 else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                value=curve[max(curve)],
                params=params,
                distributions=SPACE,
                intermediate_values=curve,
            )
        )
    return study


def milliseconds(count: int, sampler: BaseSampler) -> float:
    """Return the median CPU time of an ask with all of its parameters, after a first one."""
    study = study_of(count, sampler)
    running = [study.ask(SPACE) for _ in range(RUNNING)]
    times = []
    for k in range(ASKS):
        study.tell(running[k], float(k))
        began = time.process_time()
        running.append(study.ask(SPACE))
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    print("| trials | tpe, ms | forest, ms | Optuna 5's TPE, ms |\n|---|---|---|---|")
    for count in (100, 1_000, 10_000):
        tpe = milliseconds(count, Tpe(SPACE, 0, **settings("sampler/tpe")))
        forest = milliseconds(count, Forest(SPACE, 0, **settings("sampler/forest")))
        theirs = milliseconds(count, TPESampler(seed=0))
        print(f"| {count:,} | {tpe:.1f} | {forest:.1f} | {theirs:.0f} |", flush=True)


if __name__ == "__main__":
    main()
