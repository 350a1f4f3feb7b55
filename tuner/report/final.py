"""The winner trained anew over several seeds, and what its test score then is."""

import json
import math
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit  # type: ignore[import-untyped]

from tuner import trial
from tuner.config import Source
from tuner.errors import TunerError
from tuner.report.wording import duration, metric

MODEL = "model.safetensors"  # what an objective may leave in its run directory


@dataclass(frozen=True)
class FinalResult:
    """Scores by seed.  ``sd`` has n - 1 degrees of freedom; one seed has no ``sd`` or interval."""

    seeds: Sequence[int]
    values: Sequence[float]
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    """The 95 % confidence interval of the mean, by Student's t."""
    metrics: Sequence[dict[str, float]]
    models: Sequence[str]
    overrides: Sequence[str]

    def line(self, name: str) -> str:
        """The score for people, ``name`` being the metric's."""
        count = len(self.values)
        if self.sd is None or self.interval is None:
            return f"final:     {name} {metric(self.mean)} (1 seed)"
        if self.sd == 0:  # as many right each time: says nothing of the spread
            return f"final:     {name} {metric(self.mean)}, the same over {count} seeds"
        low, high = self.interval
        return (
            f"final:     {name} {metric(self.mean)} ± {self.sd:.2g} over {count} seeds"
            f" (95 % interval {metric(low)} to {metric(high)})"
        )


def run_final(
    source: Source,
    overrides: Sequence[str],
    *,
    seeds: Sequence[int],
    final_overrides: Sequence[str],
    out_dir: Path,
    device: str | None,
    log: Callable[[str], None],
) -> FinalResult:
    """Train ``overrides`` with ``final_overrides`` once per seed, in ``out_dir/seed-k``.

    A seed that was finished with the same overrides is taken as it is; one that was interrupted
    goes on from its checkpoint.  Writes ``out_dir/final.json``.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise TunerError(
            f"final.seeds: needs one seed or more, all different, got {list(seeds)}\n"
            "hint: final.seeds=3"
        )
    kept = [item for item in overrides if not item.startswith("seed=")]
    common = [*kept, *final_overrides]
    scores = []
    for place, seed in enumerate(seeds, start=1):
        run_dir = out_dir / f"seed-{seed}"
        log(f"final training {place} of {len(seeds)}: seed {seed}")
        scores.append(_score(source, [*common, f"seed={seed}"], run_dir, device, log))
    result = _result(seeds, common, scores, out_dir)
    _write(out_dir / "final.json", asdict(result))
    return result


def _score(
    source: Source,
    overrides: list[str],
    run_dir: Path,
    device: str | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """``value`` and ``metrics`` of one seed, trained unless they are on record."""
    plan, record = run_dir / "overrides.json", run_dir / "result.json"
    if run_dir.exists() and _read(plan) != overrides:
        shutil.rmtree(run_dir)  # its checkpoint is of another configuration
    stored = _read(record)
    if isinstance(stored, dict):
        log(f"seed was finished before: {metric(stored['value'])}")
        return stored
    cfg = source.compose(overrides)
    _write(plan, overrides)
    metrics: dict[str, float] = {}

    def report(_epoch: int, /, **reported: float) -> None:
        metrics.update({name: float(value) for name, value in reported.items()})

    began = time.monotonic()
    value = trial.run(cfg, run_dir=run_dir, report=report, device=device)
    if value is None:
        value = metrics.get(str(cfg.study.metric))
    if value is None or not math.isfinite(value):
        raise TunerError(
            f"final training of {run_dir.name} gave no finite value, got {value}\n"
            "hint: the objective must return or report it; `tuner train` shows its epochs"
        )
    score = {"value": value, "metrics": metrics}
    _write(record, score)
    log(f"{metric(value)} in {duration(time.monotonic() - began)}")
    return score


def _result(
    seeds: Sequence[int], overrides: Sequence[str], scores: Sequence[dict[str, Any]], out_dir: Path
) -> FinalResult:
    values = [score["value"] for score in scores]
    mean = statistics.fmean(values)
    sd = statistics.stdev(values) if len(values) > 1 else None
    models = [path for seed in seeds if (path := out_dir / f"seed-{seed}" / MODEL).exists()]
    return FinalResult(
        seeds=list(seeds),
        values=values,
        mean=mean,
        sd=sd,
        interval=None if sd is None else _interval(mean, sd, len(values)),
        metrics=[score["metrics"] for score in scores],
        models=[str(path) for path in models],
        overrides=list(overrides),
    )


def _interval(mean: float, sd: float, count: int) -> tuple[float, float]:
    half = float(stdtrit(count - 1, 0.975)) * sd / math.sqrt(count)
    return mean - half, mean + half


def _read(path: Path) -> Any:
    """What a JSON file holds; None when it is missing or was cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
