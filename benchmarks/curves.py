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
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Curve = npt.NDArray[np.float64]
Params = Mapping[str, Any]

LCBENCH_EPOCHS = 51


@dataclass(frozen=True)
class Task:
    """A search problem.

    ``curve`` returns the value after each epoch; a configuration that diverges has NaN as its last.
    Regret is ``(best - value) / scale``, where ``best`` is the best known value and ``scale`` is
    such that the expected best of ten random full trainings has regret 1.
    """

    name: str
    space: Mapping[str, BaseDistribution]
    epochs: int
    """Epochs of a full training, their mean if they depend on the configuration."""
    curve: Callable[[Params], Curve]
    best: float
    scale: float
    recorded: Callable[[Params], Params] = lambda params: params
    """Returns the configuration that is trained in place of a proposed one."""
    length: Callable[[Params], int] | None = None
    """Returns the epochs of a configuration's schedule, if they are not ``epochs``."""
    seconds: Callable[[Params], Curve] | None = None
    """Returns the seconds from the start to the end of each epoch of ``curve``."""
    full: float = math.nan
    """Mean seconds of a full training of a random configuration that does not diverge."""
    timed: bool = False
    """Whether a search has a budget of seconds instead of epochs."""

    @property
    def unit(self) -> float:
        """A full training, in what the budget is in."""
        return self.full if self.timed else self.epochs

    def epochs_of(self, params: Params) -> int:
        return self.length(params) if self.length else self.epochs

    def regret(self, value: float) -> float:
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
        return self.measured(code, configurations)[0]

    def measured(self, code: int, configurations: Sequence[Params]) -> tuple[Curve, Curve]:
        """Return the accuracy and the seconds since the start, each (configurations, 51)."""
        names = list(LCBENCH_SPACE)
        settings = np.array([[p[name] for name in names] for p in configurations], np.float32)
        epochs = np.tile(np.arange(1, LCBENCH_EPOCHS + 1, dtype=np.float32), len(settings))
        rows = np.column_stack([epochs, np.repeat(settings, LCBENCH_EPOCHS, axis=0)])
        tasks = np.full((len(rows), 1), code, np.int32)
        out = self.session.run(None, {"x_cont": rows, "x_cat": tasks})[0]
        both = np.asarray(out, float).reshape(len(settings), LCBENCH_EPOCHS, -1)
        return both[..., 1], np.maximum.accumulate(both[..., 0], axis=1)

    def task(self, name: str) -> Task:
        code = self.codes[name]
        best, scale, full = self._normalisation(name, code)

        @functools.lru_cache(4096)
        def known(key: tuple[tuple[str, Any], ...]) -> tuple[Curve, Curve]:
            accuracy, seconds = self.measured(code, [dict(key)])
            return accuracy[0], seconds[0]

        def asked(params: Params) -> tuple[Curve, Curve]:
            return known(tuple(sorted(params.items())))

        return Task(
            name,
            LCBENCH_SPACE,
            LCBENCH_EPOCHS,
            lambda params: asked(params)[0],
            best,
            scale,
            seconds=lambda params: asked(params)[1],
            full=full,
        )

    def _normalisation(self, name: str, code: int) -> tuple[float, float, float]:
        path = self.cache / f"lcbench-{name}.json"
        if not path.exists():
            path.write_text(json.dumps(self._explore(code)))
        best, scale, full = json.loads(path.read_text())
        return best, scale, full

    def _explore(self, code: int) -> tuple[float, float, float]:
        """Return the best value, the scale, and the mean seconds of a full training.

        The best is that of 3,000 random configurations and of 40 rounds of 100 variations, each of
        the best 20 configurations so far. The mean is that of the 3,000.
        """
        rng = np.random.default_rng(0)
        points = rng.random((3000, len(LCBENCH_SPACE)))
        curves, seconds = self.measured(code, [decode(u, LCBENCH_SPACE) for u in points])
        values = curves.max(1)
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
        return best, float(best - tens), float(seconds[:, -1].mean())


def encode(params: Params, space: Mapping[str, BaseDistribution]) -> Curve:
    """Return a configuration as a point of the unit cube; options are evenly spaced."""
    return np.array([_position(params[name], d) for name, d in space.items()])


def _position(value: Any, d: BaseDistribution) -> float:
    if isinstance(d, CategoricalDistribution):
        return d.choices.index(value) / (len(d.choices) - 1)
    assert isinstance(d, FloatDistribution | IntDistribution)
    low, high = (math.log(d.low), math.log(d.high)) if d.log else (d.low, d.high)
    return ((math.log(value) if d.log else float(value)) - low) / (high - low)


def decode(point: Curve, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return a point of the unit cube as a configuration, uniform in each distribution."""
    return {name: _value(u, d) for u, (name, d) in zip(point, space.items(), strict=True)}


def _value(u: float, d: BaseDistribution) -> Any:
    if isinstance(d, CategoricalDistribution):
        return d.choices[int(u * len(d.choices))]
    assert isinstance(d, FloatDistribution | IntDistribution)
    half = 0.5 if isinstance(d, IntDistribution) else 0.0
    low, high = d.low - half, d.high + half
    value = low * math.exp(u * math.log(high / low)) if d.log else low + u * (high - low)
    is_int = isinstance(d, IntDistribution)
    return min(max(round(value), d.low), d.high) if is_int else float(value)
