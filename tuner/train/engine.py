"""The built-in objective: trains a CNN on labelled images and reports after every epoch."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from tuner.errors import Diverged
from tuner.train import checkpoint, hardware
from tuner.train.checkpoint import Recipe
from tuner.train.data import Data, Split
from tuner.train.export import write_confusion, write_model
from tuner.train.learner import Learner, Settings
from tuner.train.loss import Loss
from tuner.train.scores import check_metric


def train(
    *,
    data: Callable[[torch.device], Data],
    model: Callable[..., nn.Module],
    optimizer: Callable[..., Optimizer],
    schedule: Callable[[float], float],
    loss: Callable[..., Loss],
    trainer: Settings,
    metric: str,
    seed: int,
    report: Callable[..., None],
    run_dir: Path,
    device: str | None = None,
) -> float:
    """Trains one configuration and returns the last value of ``metric``.

    With ``trainer.protocol=search`` it learns from the training split, reports the validation
    scores after every epoch and never looks at the test split.  With ``final`` it learns from
    both, scores the test split once, after the last epoch, and leaves the model in ``run_dir``.

    Where ``run_dir`` holds a checkpoint it goes on after that epoch, to the same bits on the CPU.

    Raises: Infeasible for a network that does not fit the images, Diverged for a loss that is
    not finite, ConfigError for settings that contradict each other, and what ``report`` raises.
    """
    check_metric(metric)
    place = hardware.choose(device)
    hardware.configure(place, threads=trainer.threads, deterministic=trainer.deterministic)
    recipe = checkpoint.describe(
        data=data, model=model, optimizer=optimizer, schedule=schedule, loss=loss, trainer=trainer,
        seed=seed,
    )  # fmt: skip
    images = data(place)
    learned, scored = _splits(images, trainer)

    hardware.reseed(seed, 0, place)
    network = model(in_shape=images.in_shape, num_classes=len(images.classes))
    learner = Learner(network, optimizer, schedule, loss(images.counts(learned)), images, trainer)
    epoch, metrics = _resume(learner, run_dir, recipe)
    if metrics:  # the process may have died between the checkpoint and its report
        report(epoch, **metrics)

    while epoch < trainer.epochs:
        epoch += 1
        generator = hardware.reseed(seed, epoch, place)
        train_loss = learner.train_epoch(learned, epoch, generator)
        if trainer.protocol == "search" or epoch == trainer.epochs:
            scores, (mean,) = learner.evaluate(scored).read(train_loss)
            metrics = scores.metrics() | {"train_loss": mean}
            write_confusion(run_dir, scores.confusion, images)
        _check_finite(metrics or {"train_loss": float(train_loss)}, epoch)
        _save(learner, run_dir, recipe, epoch, metrics)
        if metrics:
            report(epoch, **metrics)

    if trainer.protocol == "final":
        write_model(run_dir, learner.network, images, metrics, recipe)
    return metrics[metric]


def _splits(images: Data, trainer: Settings) -> tuple[Split, Split]:
    """The split to learn from and the one to score."""
    if trainer.protocol == "final":
        return images.train + images.validation, images.test
    return images.train, images.validation


def _resume(learner: Learner, run_dir: Path, recipe: Recipe) -> tuple[int, dict[str, float]]:
    """The last epoch made and its metrics: 0 and none where the run begins."""
    state = checkpoint.load(run_dir / "checkpoint.pt", recipe, learner.device)
    if state is None:
        return 0, {}
    learner.load_state_dict(state["learner"])
    return state["epoch"], state["metrics"]


def _save(
    learner: Learner, run_dir: Path, recipe: Recipe, epoch: int, metrics: Mapping[str, float]
) -> None:
    state = {
        "epoch": epoch,
        "metrics": dict(metrics),
        "learner": learner.state_dict(),
        "recipe": recipe,
        "fingerprint": checkpoint.fingerprint(learner.device),
    }
    checkpoint.save(run_dir / "checkpoint.pt", state)


def _check_finite(metrics: Mapping[str, float], epoch: int) -> None:
    """Raises: Diverged, with the numbers, where a loss is NaN or infinite."""
    bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if bad:
        raise Diverged(f"diverged in epoch {epoch}: {bad}")
