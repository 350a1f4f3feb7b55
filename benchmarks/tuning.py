"""One CNN on Fashion-MNIST, tuned by tuner, by Optuna's plain loop and by Ray Tune.

``end_to_end.py`` starts each of them; this module has what they share, so that only the search
differs: the space, the training function (tuner's) and the recording of reports.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

SPACE: dict[str, BaseDistribution] = {
    "model.depth": IntDistribution(2, 3),
    "model.convs": IntDistribution(1, 2),
    "model.width": IntDistribution(4, 16, log=True),
    "model.dropout": FloatDistribution(0, 0.5),
    "trainer.batch_size": CategoricalDistribution((64, 128, 256)),
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "loss.label_smoothing": FloatDistribution(0, 0.2),
    "data.augment.shift": IntDistribution(0, 3),
}
"""Small networks: a full training takes about ten seconds on a core, so that minutes fit dozens."""
WORKERS = 2


@dataclass(frozen=True)
class Run:
    """The inputs of one search: data, number of images, schedule, seed, and directory."""

    root: Path
    limit: int
    epochs: int
    seed: int
    directory: Path

    @property
    def marks(self) -> Path:
        """The file of reports: time (seconds since 1970) and validation accuracy, one line each."""
        return self.directory / "marks"

    @property
    def pins(self) -> list[str]:
        """The overrides common to all trials of all searches."""
        return [
            "experiment=fashion_mnist",
            "space=none",
            f"data.root={self.root}",
            f"data.limit={self.limit}",
            f"trainer.epochs={self.epochs}",
            "objective._target_=benchmarks.tuning.train",
            f"+objective.marks={self.marks}",
        ]

    def argv(self) -> list[str]:
        given = [self.root, self.limit, self.epochs, self.seed, self.directory]
        return [str(value) for value in given]


def train(*, marks: str, report: Callable[..., None], **parts: Any) -> float:
    """Run ``tuner.train.engine.train`` and record its reports."""
    from tuner.train import engine

    def marked(epoch: int, **metrics: float) -> None:
        with Path(marks).open("a") as file:
            file.write(f"{time.time()} {metrics['accuracy']}\n")
        report(epoch, **metrics)

    return engine.train(report=marked, **parts)


def run(task: Run, params: Mapping[str, Any], number: int, report: Callable[..., None]) -> float:
    """Train one configuration without a study of tuner; a diverging one has accuracy 0."""
    from tuner.config import composition, instantiation
    from tuner.errors import Diverged, Infeasible

    drawn = [f"{name}={value}" for name, value in params.items()]
    seed = 1000 * task.seed + number
    cfg = composition.Source().compose([*task.pins, *drawn, f"seed={seed}"])
    run_dir = task.directory / "trials" / str(number)
    run_dir.mkdir(parents=True)
    try:
        return float(instantiation.instantiate(cfg.objective, report=report, run_dir=run_dir))
    except (Diverged, Infeasible):
        return 0.0


def sweep(distribution: BaseDistribution) -> str:
    """Return a distribution in Hydra's sweep grammar."""
    if isinstance(distribution, CategoricalDistribution):
        return f"choice({','.join(map(str, distribution.choices))})"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    interval = f"interval({distribution.low},{distribution.high})"
    tagged = f"tag(log,{interval})" if distribution.log else interval
    return f"int({tagged})" if isinstance(distribution, IntDistribution) else tagged


def ours(task: Run) -> list[str]:
    """Run `tuner tune` with its defaults, without trying the configuration's own values first."""
    searched = [f"{name}={sweep(distribution)}" for name, distribution in SPACE.items()]
    settings = ["study.n_trials=null", "budget.hours=1", "study.enqueue_defaults=false"]
    return [
        *(sys.executable, "-m", "tuner", "tune", *task.pins, *searched, *settings),
        *(f"launch.workers={WORKERS}", f"seed={task.seed}"),
    ]


def plain(task: Run, worker: int | None = None) -> None:
    """Run Optuna's loop in two processes on one SQLite file, with default sampler and pruner."""
    import optuna

    url = f"sqlite:///{task.directory}/optuna.db"
    study = optuna.create_study(
        storage=url,
        study_name="plain",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=WORKERS * task.seed + (worker or 0)),
    )
    if worker is None:
        command = [sys.executable, "-m", "benchmarks.tuning", "plain", *task.argv(), "--worker"]
        started = [subprocess.Popen([*command, str(k)]) for k in range(WORKERS)]
        raise SystemExit(max(process.wait() for process in started))

    def objective(trial: optuna.Trial) -> float:
        params = {name: suggest(trial, name, d) for name, d in SPACE.items()}

        def report(epoch: int, **metrics: float) -> None:
            trial.report(metrics["accuracy"], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return run(task, params, trial.number, report)

    study.optimize(objective)


def suggest(trial: Any, name: str, d: BaseDistribution) -> Any:
    if isinstance(d, CategoricalDistribution):
        return trial.suggest_categorical(name, d.choices)
    if isinstance(d, IntDistribution):
        return trial.suggest_int(name, d.low, d.high, log=d.log)
    assert isinstance(d, FloatDistribution)
    return trial.suggest_float(name, d.low, d.high, log=d.log)


def ray(task: Run, worker: int | None = None) -> None:
    """Run Ray Tune: ASHA over OptunaSearch, both with their defaults, one CPU per trial."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def trainable(params: dict[str, Any]) -> None:
        number = int(tune.get_context().get_trial_id(), 16) % 10**6
        run(task, params, number, lambda epoch, **metrics: tune.report(metrics))

    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR")
    found = {"metric": "accuracy", "mode": "max"}
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(dict(SPACE), seed=task.seed, **found),
            scheduler=ASHAScheduler(max_t=task.epochs, **found),
            num_samples=-1,
            max_concurrent_trials=WORKERS,
        ),
        run_config=tune.RunConfig(
            storage_path=str(task.directory / "ray"),
            failure_config=tune.FailureConfig(fail_fast=True),
            verbose=0,
        ),
    )
    tuner.fit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("search", choices=["plain", "ray"])
    parser.add_argument("root", type=Path)
    for name in ("limit", "epochs", "seed"):
        parser.add_argument(name, type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--worker", type=int)
    asked = vars(parser.parse_args())
    search, worker = asked.pop("search"), asked.pop("worker")
    {"plain": plain, "ray": ray}[search](Run(**asked), worker)


if __name__ == "__main__":
    main()
