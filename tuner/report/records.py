"""One training of a finalist, made once: what it was to be and what came of it stay on record."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tuner import exported, nodes, trial
from tuner.aims import Aims
from tuner.config import Source
from tuner.nodes import OPERATIONAL
from tuner.objective import measured
from tuner.report.wording import duration, metric, strict
from tuner.schema import StudySettings

PLAN = "plan.json"  # in a run directory: whose training it holds


@dataclass(frozen=True)
class Score:
    """What a training's ``result.json`` holds."""

    value: exported.Finite
    metrics: dict[str, float]


@dataclass(frozen=True)
class Training:
    """A training that is wanted."""

    overrides: list[str]
    cfg: DictConfig

    @classmethod
    def of(cls, source: Source, overrides: list[str]) -> "Training":
        return cls(overrides, source.compose(overrides))

    @property
    def plan(self) -> dict[str, Any]:
        """What makes it this one: the files behind the overrides may have been edited."""
        text = nodes.text(self.cfg, without=sorted(OPERATIONAL))
        return {"overrides": self.overrides, "configuration": text}

    def differs(self, run_dir: Path) -> bool:
        """Whether what lies there is of another one."""
        return run_dir.exists() and read(run_dir / PLAN) != self.plan

    def score(
        self, run_dir: Path, device: str | None, log: Callable[[str], None]
    ) -> dict[str, Any] | None:
        """``value`` and ``metrics``, trained in ``run_dir`` unless they are on record there.

        None, and nothing on record, if there is no finite value.
        """
        record = run_dir / "result.json"
        if self.differs(run_dir):
            shutil.rmtree(run_dir)  # its checkpoint is of another configuration
        stored = read(record)
        if stored and not exported.mistakes(stored, Score):
            log(f"seed was finished before: {metric(stored['value'])}")
            return stored
        write(run_dir / PLAN, self.plan)
        metrics: dict[str, float] = {}

        def report(epoch: int, /, **reported: float) -> None:
            metrics.update(measured(epoch, reported)[1])

        began = time.monotonic()
        aims = Aims.of(nodes.section(self.cfg, "study", StudySettings))
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
    """What a JSON file holds; nothing where it is missing, was cut short or holds no object."""
    try:
        return exported.read(path)
    except (OSError, ValueError):
        return {}


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(strict(data), indent=2, allow_nan=False)  # a race may hold NaN
    draft.write_text(f"{text}\n", encoding="utf-8")
    draft.replace(path)
