"""A learner that processes its rank's share of each batch."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tuner.train.data.batches import Feed
from tuner.train.data.tensors import Data, Split
from tuner.train.ddp.sync_batch_norm import NORMS
from tuner.train.learner import Learner
from tuner.train.metrics import ErrorTally, Tally

Trainee = TypeVar("Trainee")


def shared(learner: Trainee) -> "Trainee | ShardedLearner":
    """Return the learner itself for one device, else one that processes its rank's share."""
    if not distributed.is_initialized():
        return learner
    assert isinstance(learner, Learner)  # because trainer.fused is 1
    return ShardedLearner(learner)


class ShardedLearner:
    """Stands in for its learner in ``engine.train`` on several devices."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.ranks = distributed.get_world_size()
        # Kernels that wait for other processes cannot be captured.
        learner.settings = replace(learner.settings, graph="eager")
        self.feed = learner.feed = ShardFeed(learner.data)
        for layer in learner.network.modules():
            if type(layer) in NORMS:
                layer.__class__ = NORMS[type(layer)]
        learner.forward = Averaging(learner.network)
        learner.before = _before
        learner.normaliser = self._normaliser

    def train_epoch(
        self, split: Split, epoch: int, generator: torch.Generator, between: Callable[[], None]
    ) -> Tensor:
        """Train an epoch like ``Learner.train_epoch``; the mean loss is that of all ranks."""
        if distributed.get_rank():  # dropout must differ between shares
            torch.manual_seed(torch.initial_seed() + distributed.get_rank())
        self.learner.train_epoch(split, epoch, generator, between)
        distributed.all_reduce(self.learner.total)
        return self.learner.total.div_(self.ranks) / self.learner.done

    def _normaliser(self, labels: Tensor) -> float | Tensor:
        """Return the divisor of a rank's losses, equal for all because gradients are averaged."""
        normaliser = self.learner.loss.normaliser(labels)
        if isinstance(normaliser, Tensor):
            distributed.all_reduce(normaliser)
            normaliser = normaliser / self.ranks
        return normaliser

    def evaluate(self, split: Split) -> Tally | ErrorTally:
        """Evaluate in shares if counts are sufficient, else the whole split on each rank."""
        tally = self.learner.tally()
        self.feed.in_shares = isinstance(tally, Tally) and not tally.ranked
        tally = self.learner.evaluate(split)
        if self.feed.in_shares and isinstance(tally, Tally):
            distributed.all_reduce(tally.cells)
            distributed.all_reduce(tally.loss)
            tally.images = len(split)
        return tally


def _before(share: Tensor) -> Tensor:
    """Return ``mixup.before`` of the whole batch, whose shares the ranks hold in order."""
    lasts = [torch.empty_like(share[-1:]) for _ in range(distributed.get_world_size())]
    distributed.all_gather(lasts, share[-1:].contiguous())
    return torch.cat([lasts[distributed.get_rank() - 1], share[:-1]])


class ShardFeed(Feed):
    """This rank's share of every training batch, and of the batches of an evaluation."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        self.in_shares = True

    def epoch(
        self, split: Split, order: Tensor, draws: Tensor, size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        own = size // self.ranks
        return super().epoch(split, self._own(order, size), self._own(draws, size), own, start)

    def _own(self, rows: Tensor, size: int) -> Tensor:
        """Return this rank's rows of each whole batch of ``size``."""
        steps = len(rows) // size
        shares = rows[: steps * size].view(steps, self.ranks, size // self.ranks, *rows.shape[1:])
        return shares[:, self.rank].flatten(0, 1)

    def whole(self, split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.in_shares:
            return super().whole(split, size)
        bounds = [len(split) * rank // self.ranks for rank in (self.rank, self.rank + 1)]
        rows = slice(*bounds)
        return super().whole(
            replace(split, images=split.images[rows], labels=split.labels[rows]), size
        )


class Averaging:
    """A network whose gradients are averaged over all ranks during its backward pass."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.trained: list[bool] = []
        self.wrapped: DistributedDataParallel | None = None

    def __call__(self, images: Tensor) -> Tensor:
        trained = [parameter.requires_grad for parameter in self.network.parameters()]
        if self.wrapped is None or trained != self.trained:  # first call, or stages were unfrozen
            self.trained = trained
            self.wrapped = DistributedDataParallel(self.network)
        found: Tensor = self.wrapped(images)
        return found
