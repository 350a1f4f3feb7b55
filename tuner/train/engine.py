"""The built-in objective: train a CNN on labelled images and report after every epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
from torch import nn
from torch.optim import Optimizer

from tuner.train import preflight
from tuner.train.checkpoint import checkpoint
from tuner.train.data import sampling
from tuner.train.data.tensors import Data, Split
from tuner.train.ddp.ranks import ranks
from tuner.train.ddp.sharded_learner import ShardedLearner, shared
from tuner.train.device import hardware
from tuner.train.export.saved_model import write_model
from tuner.train.fused import member, rendezvous
from tuner.train.fused.member import Member
from tuner.train.learner import Learner
from tuner.train.loss import Loss
from tuner.train.metrics import check_metric, examples
from tuner.train.model import fine_tuning, initial
from tuner.train.optim import parameter_groups
from tuner.train.progress import Progress
from tuner.train.settings import Settings


@ranks
@rendezvous.turns
def train(
    *,
    data: Callable[[torch.device], Data],
    model: Callable[..., nn.Module],
    optimizer: Annotated[Callable[..., Optimizer], parameter_groups.KEYWORDS],
    schedule: Callable[[float], float],
    loss: Callable[..., Loss],
    trainer: Settings,
    metric: str,
    seed: int,
    report: Callable[..., None],
    run_dir: Path,
    device: str | None = None,
    measure: Sequence[str] = (),
) -> float:
    """Train one configuration and return the last value of ``metric``.

    With ``trainer.protocol=search``, it trains on the training split, reports the validation scores
    after every epoch and never uses the test split. With ``final``, it trains on both splits,
    scores the test split once, after the last epoch, and writes the model to ``run_dir``.

    The costs in ``measure`` (see ``cost.COSTS``) are noted before the first epoch, so that a
    network that exceeds a constraint is not trained. In a search, the number of images behind the
    metric is noted as well. If ``run_dir`` contains a checkpoint, the training is resumed from it;
    on the CPU, the result is bit-identical.

    Raises:
        Infeasible: The network does not fit the images.
        Diverged: The loss is not finite.
        ConfigError: Settings contradict each other.
        Stop: Raised by ``report``.
    """
    place = _place(device, trainer)
    recipe = checkpoint.describe(
        data=data, model=model, optimizer=optimizer, schedule=schedule, loss=loss, trainer=trainer,
        seed=seed,
    )  # fmt: skip
    images = data(place)
    recipe["data.fingerprint"] = images.fingerprint
    check_metric(metric, regression=images.regression)
    learned, scored = _splits(images, trainer)
    counts = _checked_counts(images, learned, scored)

    hardware.reseed(seed, 0, place)
    network = model(in_shape=images.in_shape, num_classes=len(images.classes))
    images = fine_tuning.normalised(images, network)
    if trainer.initial is not None:
        initial.load(network, Path(trainer.initial))
    learner = Learner(network, optimizer, schedule, loss(counts), images, trainer, metric)
    with Progress(learner, run_dir, recipe, report) as progress:
        progress.note_costs(measure)
        if trainer.protocol == "search":
            progress.note_examples(examples(metric, images.counts(scored)))
        progress.resume()
        trainee = shared(member.join(learner, recipe))
        _train_epochs(trainee, progress, learned, scored, seed)
    if trainer.protocol == "final":
        write_model(run_dir, learner.scored, images, progress.metrics, recipe)
    return progress.metrics[metric]


train.__dict__["check"] = preflight.check


def _place(device: str | None, trainer: Settings) -> torch.device:
    """Return the device of the run, configured for it."""
    place = hardware.choose(device)
    hardware.configure(
        place,
        threads=trainer.threads,
        deterministic=trainer.deterministic,
        precision=trainer.precision,
    )
    hardware.watch_memory(place)
    return place


def _splits(images: Data, trainer: Settings) -> tuple[Split, Split]:
    """Return the split to train on and the split to score."""
    if trainer.protocol == "final":
        return images.train + images.validation, images.test
    return images.train, images.validation


def _checked_counts(images: Data, learned: Split, scored: Split) -> list[int]:
    """Check all labels; return the number of training images per class, empty for regression."""
    images.check(learned, scored)
    counts = images.counts(learned)
    if images.balanced:
        sampling.check(counts)
    return counts


def _train_epochs(
    trainee: Learner | Member | ShardedLearner,
    progress: Progress,
    learned: Split,
    scored: Split,
    seed: int,
) -> None:
    """Train, save, score and report all remaining epochs."""
    learner = progress.learner
    epochs, search = learner.settings.epochs, learner.settings.protocol == "search"
    for epoch in range(max(1, learner.epoch), epochs + 1):
        generator = hardware.reseed(seed, epoch, learner.device)
        train_loss = trainee.train_epoch(learned, epoch, generator, progress.step_made)
        progress.epoch_trained()
        tally = trainee.evaluate(scored) if search or epoch == epochs else None
        progress.evaluated(tally, train_loss)
        if progress.stopped():
            break
    progress.settle()
    progress.completed(scored)
