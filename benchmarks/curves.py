"""Recorded learning curves as tasks for a search: a space, a curve for a configuration, a regret.

All values are oriented such that larger is better.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

Curve = npt.NDArray[np.float64]
Params = Mapping[str, Any]

LCBENCH_EPOCHS = 51


@dataclass(frozen=True)
class Task:
    """A search problem.

    ``curve`` returns the value after each epoch. Regret is ``(best - value) / scale``, where
    ``best`` is the best known value and ``scale`` is such that the expected best of ten random full
    trainings has regret 1.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    epochs: int
    curve: Callable[[Params], Curve]
    best: float
    scale: float

    def regret(self, value: Curve) -> Curve:
        return (self.best - value) / self.scale


LCBENCH_SPACE: dict[str, BaseDistribution] = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "weight_decay": FloatDistribution(1e-5, 0.1),
    "num_layers": IntDistribution(1, 5),
    "max_units": IntDistribution(64, 1024, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
}


class LCBench:
    """The surrogate of LCBench (YAHPO Gym): validation accuracy in percent after 1 to 51 epochs."""

    def __init__(self, folder: Path, cache: Path) -> None:
        import onnxruntime  # only this benchmark needs it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", options)
        self.codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        self.cache = cache

    def curves(self, code: int, configurations: Sequence[Params]) -> Curve:
        """Return the accuracy, shape (configurations, 51)."""
        names = list(LCBENCH_SPACE)
        settings = np.array([[p[name] for name in names] for p in configurations], np.float32)
        epochs = np.tile(np.arange(1, LCBENCH_EPOCHS + 1, dtype=np.float32), len(settings))
        rows = np.column_stack([epochs, np.repeat(settings, LCBENCH_EPOCHS, axis=0)])
        tasks = np.full((len(rows), 1), code, np.int32)
        out = self.session.run(None, {"x_cont": rows, "x_cat": tasks})[0]
        return np.asarray(out[:, 1], float).reshape(len(settings), LCBENCH_EPOCHS)

    def task(self, name: str) -> Task:
        code = self.codes[name]
        best, scale = self._normalisation(name, code)

        @functools.lru_cache(4096)
        def curve(key: tuple[tuple[str, Any], ...]) -> Curve:
            return self.curves(code, [dict(key)])[0]

        return Task(
            name,
            LCBENCH_SPACE,
            LCBENCH_EPOCHS,
            lambda params: curve(tuple(sorted(params.items()))),
            best,
            scale,
        )

    def _normalisation(self, name: str, code: int) -> tuple[float, float]:
        path = self.cache / f"lcbench-{name}.json"
        if not path.exists():
            path.write_text(json.dumps(self._explore(code)))
        best, scale = json.loads(path.read_text())
        return best, scale

    def _explore(self, code: int) -> tuple[float, float]:
        """Return the best of 3,000 random configurations and 40 rounds of 100 variations.

        Each round varies the best 20 configurations so far.
        """
        rng = np.random.default_rng(0)
        points = rng.random((3000, len(LCBENCH_SPACE)))
        values = self.curves(code, [decode(u, LCBENCH_SPACE) for u in points]).max(1)
        tens = rng.choice(values, (4000, 10)).max(1).mean()
        for round_ in range(40):
            top = np.argsort(-values)[:20]
            step = 0.2 * 0.92**round_
            moved = points[rng.choice(top, 100)] + step * rng.normal(size=(100, points.shape[1]))
            moved = np.where(rng.random(moved.shape) < 0.5, points[rng.choice(top, 100)], moved)
            moved = np.clip(moved, 0, 1 - 1e-9)
            found = self.curves(code, [decode(u, LCBENCH_SPACE) for u in moved]).max(1)
            points, values = np.vstack([points, moved]), np.append(values, found)
        best = float(values.max())
        return best, float(best - tens)


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

    Any configuration can be evaluated and gets the curve of the nearest recorded one that was not
    used yet, by the Euclidean distance in the unit cube of ``TASKSET_SPACE``. A task is for one
    search, which would otherwise get the same record repeatedly when it refines. The best value is
    that of the table. Non-finite losses are replaced by the largest of the table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def task(self, name: str) -> Task:
        records = json.loads((self.folder / f"{name}.json").read_text())
        points = np.array([encode(_taskset_params(r["hp"]), TASKSET_SPACE) for r in records])
        losses = np.array([r["valid"]["loss"] for r in records], float)  # None becomes NaN
        finite = np.isfinite(losses)
        curves = -np.where(finite, losses, losses[finite].max())
        values = curves.max(1)
        tens = np.random.default_rng(0).choice(values, (4000, 10)).max(1).mean()

        given: dict[tuple[float, ...], int] = {}

        def curve(params: Params) -> Curve:
            point = encode(params, TASKSET_SPACE)
            if tuple(point) not in given:
                distance = ((points - point) ** 2).sum(1)
                distance[list(given.values())] = np.inf
                given[tuple(point)] = int(distance.argmin())
            return np.asarray(curves[given[tuple(point)]])

        best = float(values.max())
        return Task(name, TASKSET_SPACE, curves.shape[1], curve, best, float(best - tens))


def _taskset_params(recorded: Mapping[str, float]) -> dict[str, float]:
    turned = {f"1 - {name}": 1 - recorded[name] for name in ("beta1", "beta2")}
    return {name: turned.get(name) or recorded[name] for name in TASKSET_SPACE}


def encode(params: Params, space: Mapping[str, BaseDistribution]) -> Curve:
    """Return a configuration of floats as a point of the unit cube."""
    found = []
    for name, d in space.items():
        assert isinstance(d, FloatDistribution)
        whole, part = (d.low, d.high), float(params[name])
        low, high = map(math.log, whole) if d.log else whole
        found.append(((math.log(part) if d.log else part) - low) / (high - low))
    return np.array(found)


def decode(point: Curve, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return a point of the unit cube as a configuration, uniform in each distribution."""
    params: dict[str, Any] = {}
    for u, (name, d) in zip(point, space.items(), strict=True):
        assert isinstance(d, FloatDistribution | IntDistribution)
        half = 0.5 if isinstance(d, IntDistribution) else 0.0
        low, high = d.low - half, d.high + half
        value = low * math.exp(u * math.log(high / low)) if d.log else low + u * (high - low)
        is_int = isinstance(d, IntDistribution)
        params[name] = min(max(round(value), d.low), d.high) if is_int else float(value)
    return params
