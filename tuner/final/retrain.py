"""Race the finalists, retrain the winner with several seeds, and score it on the test split."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tuner.config.composition import Source
from tuner.errors import Diverged, TunerError
from tuner.final import race as races
from tuner.final import training
from tuner.final.training import Training
from tuner.report.analysis.intervals import interval_of
from tuner.report.final_record import Finalist, FinalResult, Race
from tuner.report.formatting import SHARES

WEIGHTS = "model.safetensors"  # what an objective may write to its run directory


def run_final(
    source: Source,
    overrides: Sequence[str],
    *,
    seeds: Sequence[int],
    final_overrides: Sequence[str],
    out_dir: Path,
    device: str | None,
    log: Callable[[str], None],
    name: str = "",
    number: int | None = None,
    won: Race | None = None,
) -> FinalResult:
    """Train a configuration once per seed, in ``out_dir/seed-k``, and write ``final.json``.

    A finished seed with the same overrides and configuration is reused; an interrupted one is
    resumed from its checkpoint.

    Args:
        name: The metric, which determines the bounds of the interval.
        number: The number of the configuration, stored with the result.
        won: The result of the race, stored with the result.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise TunerError(
            f"needs one seed or more, all different, got {list(seeds)}",
            key="final.seeds",
            hint="final.seeds=3",
        )
    common = [*_unseeded(overrides), *final_overrides]
    asked = {seed: Training.of(source, [*common, f"seed={seed}"]) for seed in seeds}
    told = training.read(out_dir / "final.json").get("overrides") == common
    if not told or any(a.differs(out_dir / f"seed-{seed}") for seed, a in asked.items()):
        (out_dir / "final.json").unlink(missing_ok=True)  # its seeds are about to be replaced
    scores = []
    for place, seed in enumerate(seeds, start=1):
        run_dir = out_dir / f"seed-{seed}"
        log(f"final training {place} of {len(seeds)}: seed {seed}")
        score = asked[seed].score(run_dir, device, log)
        if score is None:
            raise TunerError(
                f"final training of {run_dir.name} gave no finite value",
                hint="the objective must return or report it; `tuner train` shows its epochs",
            )
        scores.append(score)
    result = replace(_result(seeds, common, scores, out_dir, name), number=number, race=won)
    training.write(out_dir / "final.json", asdict(result))
    return result


def hold_race(
    source: Source,
    finalists: Sequence[Finalist],
    *,
    seeds: Sequence[int],
    error: float,
    maximize: bool,
    out_dir: Path,
    device: str | None,
    log: Callable[[str], None],
) -> Race:
    """Race configurations with the search's own settings, each in ``out_dir/NUMBER/seed-k``.

    Finished trainings are reused, as in ``run_final``. Checkpoints are removed.
    """

    def train(finalist: Finalist, seed: int) -> float:
        run_dir = out_dir / f"{finalist.number:05d}" / f"seed-{seed}"
        overrides = [*_unseeded(finalist.overrides), f"seed={seed}"]
        try:
            score = Training.of(source, overrides).score(run_dir, device, log)
        except Diverged as reason:
            log(f"#{finalist.number}: {reason}")
            return math.nan
        for left in run_dir.glob("checkpoint*"):
            left.unlink()
        return math.nan if score is None else float(score["value"])

    return races.race(finalists, seeds=seeds, error=error, maximize=maximize, train=train, log=log)


def _unseeded(overrides: Sequence[str]) -> list[str]:
    return [item for item in overrides if not item.startswith("seed=")]


def _result(
    seeds: Sequence[int],
    overrides: Sequence[str],
    scores: Sequence[dict[str, Any]],
    out_dir: Path,
    name: str,
) -> FinalResult:
    values = [score["value"] for score in scores]
    mean = statistics.fmean(values)
    sd = statistics.stdev(values) if len(values) > 1 else None
    models = [path for seed in seeds if (path := out_dir / f"seed-{seed}" / WEIGHTS).exists()]
    return FinalResult(
        seeds=list(seeds),
        values=values,
        mean=mean,
        sd=sd,
        interval=None if sd is None else interval_of(values, share=name in SHARES),
        metrics=[score["metrics"] for score in scores],
        models=[str(path) for path in models],
        overrides=list(overrides),
        images=_images(out_dir / f"seed-{seeds[0]}") if name == "accuracy" else None,
    )


def _images(run_dir: Path) -> int | None:
    count = training.read(run_dir / "model.json").get("scored_on")
    return count if isinstance(count, int) and count > 0 else None
