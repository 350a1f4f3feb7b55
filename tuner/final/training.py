"""Train a finalist once and record the plan and the result, so that they can be reused."""

import functools
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tuner import files
from tuner.config import exported_json, lookup
from tuner.config.composition import Source
from tuner.config.lookup import OPERATIONAL
from tuner.config.types import StudySettings
from tuner.objective import measured
from tuner.report.formatting import duration, metric, strict
from tuner.study.objectives import Aims
from tuner.worker import trial

PLAN = "plan.json"  # in a run directory: identifies its training


@dataclass(frozen=True)
class Score:
    """The contents of a training's ``result.json``."""

    value: exported_json.Finite
    metrics: dict[str, float]


@dataclass(frozen=True)
class Training:
    """A requested training."""

    overrides: list[str]
    cfg: DictConfig

    @classmethod
    def of(cls, source: Source, overrides: list[str]) -> "Training":
        return cls(overrides, source.compose(overrides))

    @functools.cached_property
    def plan(self) -> dict[str, Any]:
        """The identity of the training, including files behind the overrides, which may change."""
        text = lookup.text(self.cfg, without=sorted(OPERATIONAL))
        return {"overrides": self.overrides, "configuration": text}

    def differs(self, run_dir: Path) -> bool:
        """Return whether the run directory holds another training."""
        return run_dir.exists() and read(run_dir / PLAN) != self.plan

    def score(
        self, run_dir: Path, device: str | None, log: Callable[[str], None]
    ) -> dict[str, Any] | None:
        """Return ``value`` and ``metrics``, trained in ``run_dir`` unless recorded there.

        The result is None, and nothing is recorded, if the value is not finite.
        """
        record = run_dir / "result.json"
        if self.differs(run_dir):
            shutil.rmtree(run_dir)  # its checkpoint belongs to another configuration
        stored = read(record)
        if stored and not exported_json.mistakes(stored, Score):
            log(f"seed was finished before: {metric(stored['value'])}")
            return stored
        write(run_dir / PLAN, self.plan)
        metrics: dict[str, float] = {}

        def report(epoch: int, /, **reported: float) -> None:
            metrics.update(measured(epoch, reported)[1])

        began = time.monotonic()
        aims = Aims.of(lookup.section(self.cfg, "study", StudySettings))
        returned = trial.run(self.cfg, run_dir=run_dir, report=report, device=device)
        metrics.update(aims.named(returned))
        value = metrics.get(aims.metric)
        if value is None or not math.isfinite(value):
            log(f"no finite value, got {value}")
            return None
        score = {"value": value, "metrics": metrics}
        write(record, score)
        log(f"{metric(value)} in {duration(time.monotonic() - began)}")
        return score


def read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if it is missing, truncated or no object."""
    try:
        return exported_json.read(path)
    except (OSError, ValueError):
        return {}


def write(path: Path, data: object) -> None:
    text = json.dumps(strict(data), indent=2, allow_nan=False)  # a race may hold NaN
    files.replace(path, f"{text}\n")
