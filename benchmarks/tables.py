"""Tables of recorded trainings as tasks for a search: TaskSet, and AlexNet on ImageNet.

A proposal is trained as the nearest record that the search has not had yet, by the Euclidean
distance in the unit cube of the space, and every sampler is told which configuration that was.
Otherwise the values would be blurred by the distance to the records. A task is for one search.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from benchmarks.curves import Curve, Params, Task, encode


class Table:
    """Recorded configurations and their curves, each of which is handed out once."""

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        records: Sequence[Params],
        curves: Sequence[Curve],
        seconds: Sequence[Curve] = (),
    ) -> None:
        self.space, self.records, self.curves, self.times = space, records, curves, seconds
        self.points = np.array([encode(params, space) for params in records])
        self.given: dict[tuple[float, ...], int] = {}

    def row(self, params: Params) -> int:
        """Return the index of the record for a configuration, always the same for one."""
        point = encode(params, self.space)
        key = tuple(point)
        if key not in self.given:
            distance = ((self.points - point) ** 2).sum(1)
            distance[list(self.given.values())] = np.inf
            self.given[key] = int(distance.argmin())
        return self.given[key]

    def recorded(self, params: Params) -> Params:
        """Return the record for a configuration, which then stands for itself."""
        row = self.row(params)
        self.given[tuple(self.points[row])] = row
        return self.records[row]

    def curve(self, params: Params) -> Curve:
        return self.curves[self.row(params)]

    def seconds(self, params: Params) -> Curve:
        return self.times[self.row(params)]

    def tens(self, values: Curve) -> float:
        """Return the expected best of ten random records, each worth ``values``."""
        drawn = np.random.default_rng(0).choice(values, (4000, 10))
        return float(drawn.max(1).mean())


TASKSET_SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-8, 10, log=True),
    "1 - beta1": FloatDistribution(1e-4, 1, log=True),
    "1 - beta2": FloatDistribution(1e-6, 1, log=True),
    "epsilon": FloatDistribution(1e-10, 1e3, log=True),
    "l1": FloatDistribution(1e-8, 10, log=True),
    "l2": FloatDistribution(1e-8, 10, log=True),
    "linear_decay": FloatDistribution(1e-7, 1e-4, log=True),
    "exponential_decay": FloatDistribution(1e-6, 1e-3, log=True),
}
"""Adam's hyperparameters, as sampled by TaskSet (Metz et al., 2020)."""


class TaskSet:
    """Tables of 1,000 configurations of Adam: the negated validation loss after 1 to 51 epochs.

    The best value is that of the table. Non-finite losses are replaced by the largest of the table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def task(self, name: str) -> Task:
        records = json.loads((self.folder / f"{name}.json").read_text())
        losses = np.array([r["valid"]["loss"] for r in records], float)  # None becomes NaN
        finite = np.isfinite(losses)
        curves = -np.where(finite, losses, losses[finite].max())
        table = Table(TASKSET_SPACE, [_taskset_params(r["hp"]) for r in records], list(curves))
        values = curves.max(1)
        best = float(values.max())
        scale = best - table.tens(values)
        epochs = curves.shape[1]
        return Task(name, TASKSET_SPACE, epochs, table.curve, best, scale, table.recorded)


def _taskset_params(recorded: Mapping[str, float]) -> dict[str, float]:
    turned = {f"1 - {name}": 1 - recorded[name] for name in ("beta1", "beta2")}
    return {name: turned.get(name) or recorded[name] for name in TASKSET_SPACE}


ALEXNET_SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(20, 100),
    "batch_size": CategoricalDistribution([128, 256, 512, 1024]),
    "lr": FloatDistribution(5e-3, 5e1, log=True),
    "lr_peak": FloatDistribution(0.0, 0.8),
    "momentum": FloatDistribution(0.7, 1.0),
    "weight_decay": FloatDistribution(1e-6, 1e-3, log=True),
    "label_smoothing": FloatDistribution(0.0, 0.5),
}
"""As sampled for the table; ``lr_peak`` is the fraction of the epochs before the highest rate."""


class AlexNet:
    """A table of 512 configurations of AlexNet on ImageNet: top-1 accuracy, 20 to 100 epochs.

    147 of them diverged, and 49 of these in the first epoch; the epoch of divergence has the value
    NaN and takes as long as the mean of its configuration's others, or of all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def task(self, name: str = "alexnet") -> Task:
        lines = (self.folder / "alexnet_tuning.results.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        whole = [r for r in records if not r["nan_train_loss"]]
        epoch = float(np.mean([r["learning_curve"][-1]["time"] / r["epochs"] for r in whole]))
        curves = [_top_1(r) for r in records]
        seconds = [_seconds(r, epoch) for r in records]
        table = Table(ALEXNET_SPACE, [_alexnet_params(r) for r in records], curves, seconds)
        values = np.array([np.nanmax(curve, initial=0.0) for curve in curves])
        best = float(values.max())
        return Task(
            name,
            ALEXNET_SPACE,
            round(np.mean([r["epochs"] for r in records])),
            table.curve,
            best,
            best - table.tens(values),
            table.recorded,
            length=lambda params: int(params["epochs"]),
            seconds=table.seconds,
            full=float(np.mean([r["learning_curve"][-1]["time"] for r in whole])),
        )


def _alexnet_params(record: Mapping[str, Any]) -> dict[str, Any]:
    peak = record["lr_peak_epoch"] / record["epochs"]
    return {name: peak if name == "lr_peak" else record[name] for name in ALEXNET_SPACE}


def _top_1(record: Mapping[str, Any]) -> Curve:
    found = [point["top_1"] for point in record["learning_curve"]]
    return np.array([*found, math.nan] if record["nan_train_loss"] else found)


def _seconds(record: Mapping[str, Any], epoch: float) -> Curve:
    """Return the seconds at the end of each epoch; ``epoch`` is what one takes if none is known."""
    found = [point["time"] for point in record["learning_curve"]]
    if record["nan_train_loss"]:
        found.append(found[-1] * (1 + 1 / len(found)) if found else epoch)
    return np.array(found)
