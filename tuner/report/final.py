"""Race the finalists, retrain the winner with several seeds, and score it on the test split."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scipy.special import stdtrit  # type: ignore[import-untyped]

from tuner.config import Source
from tuner.errors import Diverged, TunerError
from tuner.exported import Finite
from tuner.report import race as races
from tuner.report import records
from tuner.report.card import wilson
from tuner.report.records import Training
from tuner.report.wording import SHARES, interval, metric, scattered, span

MODEL = "model.safetensors"  # what an objective may write to its run directory


@dataclass(frozen=True)
class FinalResult:
    """Scores by seed; ``sd`` has n - 1 degrees of freedom, and one seed has no spread."""

    seeds: Sequence[int]
    values: Sequence[float]
    mean: Finite
    sd: Finite | None
    interval: tuple[Finite, Finite] | None
    """The 95 % confidence interval of the mean over seeds; see ``interval_of``."""
    metrics: Sequence[dict[str, float]]
    models: Sequence[str]
    overrides: Sequence[str]
    number: int | None = None
    """The number of the configuration in its study."""
    race: races.Result | None = None
    """The race that the configuration won, None without competitors."""
    images: int | None = None
    """The number of test images, if an accuracy was measured on them."""

    def line(self, name: str) -> str:
        """Return the score for users; ``name`` is the metric."""
        count = len(self.values)
        if self.sd is None or self.interval is None:
            return f"final:     {name} {metric(self.mean)} (1 seed)"
        if self.sd == 0:  # equal counts each time: no estimate of the spread
            return f"final:     {name} {metric(self.mean)}, the same over {count} seeds"
        return (
            f"final:     {name} {scattered(self.mean, self.sd, self.interval)} over {count} seeds"
            f" (95 % interval {interval(name, self.interval)})"
        )

    def images_line(self) -> str | None:
        """Describe the uncertainty from the choice of test images, which all seeds share."""
        if not self.images:
            return None
        return (
            f"           on other images of the kind: {span(wilson(self.mean, self.images))}"
            f" (95 %, binomial, from {self.images} images)"
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
    name: str = "",
    number: int | None = None,
    won: races.Result | None = None,
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
            f"final.seeds: needs one seed or more, all different, got {list(seeds)}\n"
            "hint: final.seeds=3"
        )
    common = [*_unseeded(overrides), *final_overrides]
    asked = {seed: Training.of(source, [*common, f"seed={seed}"]) for seed in seeds}
    told = records.read(out_dir / "final.json").get("overrides") == common
    if not told or any(a.differs(out_dir / f"seed-{seed}") for seed, a in asked.items()):
        (out_dir / "final.json").unlink(missing_ok=True)  # its seeds are about to be replaced
    scores = []
    for place, seed in enumerate(seeds, start=1):
        run_dir = out_dir / f"seed-{seed}"
        log(f"final training {place} of {len(seeds)}: seed {seed}")
        score = asked[seed].score(run_dir, device, log)
        if score is None:
            raise TunerError(
                f"final training of {run_dir.name} gave no finite value\n"
                "hint: the objective must return or report it; `tuner train` shows its epochs"
            )
        scores.append(score)
    result = replace(_result(seeds, common, scores, out_dir, name), number=number, race=won)
    records.write(out_dir / "final.json", asdict(result))
    return result


def hold_race(
    source: Source,
    finalists: Sequence[races.Finalist],
    *,
    seeds: Sequence[int],
    error: float,
    maximize: bool,
    out_dir: Path,
    device: str | None,
    log: Callable[[str], None],
) -> races.Result:
    """Race configurations with the search's own settings, each in ``out_dir/NUMBER/seed-k``.

    Finished trainings are reused, as in ``run_final``. Checkpoints are removed.
    """

    def train(finalist: races.Finalist, seed: int) -> float:
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
    models = [path for seed in seeds if (path := out_dir / f"seed-{seed}" / MODEL).exists()]
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
    count = records.read(run_dir / "model.json").get("scored_on")
    return count if isinstance(count, int) and count > 0 else None


def interval_of(values: Sequence[float], *, share: bool) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean of two or more values, by Student's t.

    For a ``share``, which lies from 0 to 1, it is computed on the angular scale, asin √x, where the
    spread does not shrink towards the ends (Bartlett, 1936). This interval is asymmetric and never
    exceeds 1.
    """
    if share and all(0 <= value <= 1 for value in values):
        low, high = interval_of([math.asin(math.sqrt(v)) for v in values], share=False)
        return math.sin(max(low, 0.0)) ** 2, math.sin(min(high, math.pi / 2)) ** 2
    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half
