"""Search on few validation images: which trials does the pruner stop, and which one wins?

    python -m benchmarks.small_validation run RUNS [--seeds 5]
    python -m benchmarks.small_validation show RUNS

Random configurations of the digits CNN, with the default pruner. The training images are the same
for all sizes of the validation set: the scores rest on the first 30, 100 or 360 of its images. With
``untold``, the pruner does not know how many, and judges from the second trial on, as it did
before. A search of the same configurations without a pruner, scored on all 360 images, shows what
each was worth.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from tuner.train import engine
from tuner.train.data.tensors import Data, Split

SIZES = (30, 100, 360)
TRIALS, EPOCHS = 10, 6
SPACE = (
    "model.width=int(interval(8,48))",
    "model.dropout=interval(0,0.5)",
    "model.batch_norm=choice(true,false)",
    "optimizer.lr=tag(log,interval(0.0003,0.03))",
    "optimizer.weight_decay=tag(log,interval(0.0001,0.3))",
    "trainer.batch_size=choice(16,32,64,128)",
)


def train(
    *,
    data: Callable[[torch.device], Data],
    report: Callable[..., None],
    images: int,
    told: bool,
    **parts: Any,
) -> float:
    """Train as ``engine.train`` does, but score only the first ``images`` validation images."""

    def cut(place: torch.device) -> Data:
        whole, scored = data(place), slice(images)
        part = Split(whole.validation.images[scored], whole.validation.labels[scored])
        return replace(whole, validation=part)

    return engine.train(data=cut, report=report if told else _silent(report), **parts)


def _silent(report: Callable[..., None]) -> Callable[..., None]:
    """Return a report that cannot take notes."""
    return lambda epoch, **metrics: report(epoch, **metrics)


def searches(seeds: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the overrides of each search."""
    for seed in range(seeds):
        yield f"whole-360-{seed}", ["pruner=none", "+objective.images=360", "+objective.told=true"]
        for size in SIZES:
            sized = ["pruner=rungs", "pruner.audited=0", f"+objective.images={size}"]
            yield f"told-{size}-{seed}", [*sized, "+objective.told=true"]
            before = ["+objective.told=false", "pruner.n_min_trials=1"]
            yield f"untold-{size}-{seed}", [*sized, *before]


def run(runs: Path, seeds: int) -> None:
    for name, overrides in searches(seeds):
        path = runs / f"{name}.json"
        if path.exists():
            continue
        seed = name.rpartition("-")[2]
        common = [f"study.name={name}", f"seed={seed}", f"storage.url=sqlite:///{runs}/tuner.db"]
        common += [f"study.dir={runs}/{name}", f"study.n_trials={TRIALS}", "sampler=random"]
        common += ["space=none", f"trainer.epochs={EPOCHS}", *SPACE]
        common += ["objective._target_=benchmarks.small_validation.train", "launch.workers=2"]
        tune = [sys.executable, "-m", "tuner", "tune", *common, *overrides]
        subprocess.run(tune, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        path.write_text(json.dumps(_trials(f"sqlite:///{runs}/tuner.db", name)))


def _trials(url: str, name: str) -> list[dict[str, Any]]:
    import optuna

    trials = optuna.load_study(study_name=name, storage=url).get_trials(deepcopy=False)
    return [
        {"params": t.params, "state": t.state.name, "curve": list(t.intermediate_values.values())}
        for t in sorted(trials, key=lambda t: t.number)
    ]


def show(runs: Path, seeds: int) -> None:
    print("| validation images | pruner | pruned | epochs saved | keeps the best | true accuracy |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        for kind in ("untold", "told"):
            found = [_figures(runs, f"{kind}-{size}-{seed}", seed) for seed in range(seeds)]
            pruned, saved, kept, chosen = (mean(column) for column in zip(*found, strict=True))
            label = "before" if kind == "untold" else "now"
            print(f"| {size} | {label} | {pruned:.1f} | {saved:.0%} | {kept:.0%} | {chosen:.4f} |")


def _figures(runs: Path, name: str, seed: int) -> tuple[int, float, bool, float]:
    """Return pruned trials, epochs saved, whether the best was kept, and the winner's accuracy."""
    found = json.loads((runs / f"{name}.json").read_text())
    whole = json.loads((runs / f"whole-360-{seed}.json").read_text())
    assert [trial["params"] for trial in found] == [trial["params"] for trial in whole]
    worth = [trial["curve"][-1] for trial in whole]
    done = [n for n, trial in enumerate(found) if trial["state"] == "COMPLETE"]
    epochs = sum(len(trial["curve"]) for trial in found)
    best = max(done, key=lambda n: found[n]["curve"][-1])
    saved = 1 - epochs / (TRIALS * EPOCHS)
    return TRIALS - len(done), saved, max(worth[n] for n in done) == max(worth), worth[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "show"])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    {"run": run, "show": show}[args.action](args.runs.absolute(), args.seeds)


if __name__ == "__main__":
    main()
