"""Train and evaluate one configuration: the step, the epoch, the evaluation.

Nothing here waits for the device: losses and counts accumulate on it, and reading them (once per
epoch) takes a single transfer.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tuner.train.data import mixup, sampling
from tuner.train.data.augment import mean_outputs
from tuner.train.data.batches import Feed
from tuner.train.data.tensors import Data, Split
from tuner.train.device import cuda_graph, hardware
from tuner.train.loss import Loss
from tuner.train.metrics import RANKED, ErrorTally, Tally
from tuner.train.model.fine_tuning import Staged
from tuner.train.optim import parameter_groups
from tuner.train.optim.ema import Average
from tuner.train.settings import Settings


class Learner:
    """A network with its optimiser, schedule and loss, on the device of its data.

    ``epoch`` counts from 1; ``done`` of its ``steps`` are finished, and their losses sum to
    ``total``.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[float], float],
        loss: Loss,
        data: Data,
        settings: Settings,
        metric: str = "accuracy",
    ) -> None:
        self.device = data.mean.device
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = parameter_groups.make(optimizer, self.network)
        self.update = parameter_groups.stepper(self.optimizer)
        self.schedule = schedule
        self.loss = loss.to(self.device)
        self.data = data
        self.settings = settings
        self.metric = metric
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.weights = [parameter for parameter in self.trained if parameter.ndim >= 2]
        self.average = Average(self.network, settings.ema) if settings.ema else None
        self.feed = Feed(data)
        self.epoch, self.done, self.steps = 0, 0, 0
        self.total = torch.zeros((), device=self.device)
        self.generators: dict[str, Any] | None = None
        self.forward: Callable[[Tensor], Tensor] = self.network
        # For a batch shared by several ranks: the partners of its images, and its normaliser.
        self.before: Callable[[Tensor], Tensor] = mixup.before
        self.normaliser: Callable[[Tensor], float | Tensor] | None = None
        self.rates: cuda_graph.Rates | None = None
        self.make_step: Callable[..., None] | None = None

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and exported: the averaged one, if averaging is on."""
        return self.average.network if self.average else self.network

    def train_epoch(
        self,
        split: Split,
        epoch: int,
        generator: torch.Generator,
        between: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Train one pass over ``split`` in a new order, or the rest of a resumed one.

        Every step has the same shape: images left over after the last whole batch are skipped in
        this epoch. ``between`` is called after each step.

        Returns:
            The mean loss, a scalar on the device.
        """
        if isinstance(self.network, Staged) and self.network.begin_epoch(epoch):
            self.make_step = None  # another step than was recorded
            parameter_groups.begin_momentum(self.optimizer)
        self.network.train()
        size = min(self.settings.batch_size, len(split))
        steps = self.steps = len(split) // size
        if epoch != self.epoch:  # otherwise a checkpoint was taken within it
            self.epoch, self.done = epoch, 0
            self.total.zero_()
        order = self.order(split, generator)
        draws = self.data.augment.draw(len(split), self.data.in_shape[1:], generator)
        mixes = mixup.draw(self.data.augment, steps, self.data.in_shape[1:], generator)
        make_step = self.make_step or self._choose((self.settings.epochs - epoch + 1) * steps)
        factors: Sequence[Any] = self.factors(epoch, steps)
        if self.rates:
            factors = self.rates.factors(factors)
        if self.generators:  # as they were after the last step before the checkpoint
            hardware.set_generators(self.generators, self.device)
            self.generators = None
        for batch in self.feed.epoch(split, order, draws, size, self.done):
            make_step(*batch, factors[self.done], *mixes[self.done])
            if self.average:
                self.average.update((epoch - 1) * steps + self.done)
            self.done += 1
            between()
        return self.total / steps

    def order(self, split: Split, generator: torch.Generator) -> Tensor:
        """Return the order of the images of an epoch: int64 [n] in main memory.

        It is drawn on the CPU, where streamed images are gathered, and is thus the same on all
        devices.
        """
        host = hardware.host_generator(generator)
        if self.data.balanced:
            return sampling.balanced(split.host_labels, len(self.data.classes), host)
        return sampling.shuffled(len(split), host)

    def factors(self, epoch: int, steps: int) -> list[float]:
        """Return the factors of the learning rate at each of an epoch's steps."""
        first, total = (epoch - 1) * steps, self.settings.epochs * steps
        return [self.schedule((first + step) / total) for step in range(steps)]

    def _choose(self, steps: int) -> Callable[..., None]:
        """Choose how to run the remaining ``steps``."""
        rung = cuda_graph.choose(self.settings.graph, self.device, self.optimizer, steps)
        if rung == "compile":
            self.forward = cuda_graph.Compiled(self.network)
        if rung == "eager" or self.device.type != "cuda":
            self.rates, self.make_step = None, self._eager
        else:
            self.rates = cuda_graph.Rates(self.optimizer, self.device)
            self.make_step = cuda_graph.Capture(self._captured, self.device)
        return self.make_step

    def _eager(self, images: Tensor, labels: Tensor, factor: float, *mix: Tensor) -> None:
        parameter_groups.set_factor(self.optimizer, factor)
        self.step(images, labels, *mix)

    def _captured(self, images: Tensor, labels: Tensor, factor: Tensor, *mix: Tensor) -> None:
        assert self.rates is not None
        self.rates.set_factor(factor)
        self.step(images, labels, *mix)

    def step(self, images: Tensor, labels: Tensor, *mix: Tensor) -> None:
        """Run one optimiser step on images float32 [b, C, H, W] and add its loss to ``total``.

        ``mix`` is one row of ``mixup.draw``, or nothing. The step may be captured and replayed:
        everything that changes between steps is in tensors.
        """
        for parameter in self.trained:
            parameter.grad = None
        for loss in self._losses(images, labels, *mix):
            loss.backward()  # type: ignore[no-untyped-call]
            self.total += loss.detach()
        self.loss.penalise(self.weights)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        self.update()

    def _losses(self, images: Tensor, labels: Tensor, *mix: Tensor) -> Iterator[Tensor]:
        """Yield the loss of the batch, or with ``accumulate`` of its parts, which sum to it.

        The batch is blended before it is divided, so that the pairs of images are the same.
        """
        share, partners, own = self._share(labels), labels, None
        if mix:
            images, own = mixup.blend(images, self.before(images), *mix)
            partners = self.before(labels)
        for some, theirs, others in self._portions(images, labels, partners):
            with hardware.autocast(self.device, self.settings.precision):
                outputs = self.forward(some)
                if own is None:
                    loss = share(outputs, theirs)
                else:
                    loss = mixup.blended(share, outputs, theirs, others, own)
            yield loss

    def _portions(self, *batch: Tensor) -> Iterable[tuple[Tensor, ...]]:
        """Yield the batch's tensors in ``accumulate`` parts, without views for a single part."""
        if self.settings.accumulate == 1:
            return [batch]
        return zip(*(part.chunk(self.settings.accumulate) for part in batch), strict=True)

    def _share(self, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of a part of the batch, as its contribution to the mean of the batch."""
        if self.settings.accumulate == 1 and self.normaliser is None:
            return self.loss
        normaliser = self.normaliser(labels) if self.normaliser else self.loss.normaliser(labels)
        return functools.partial(self.loss.partial_mean, normaliser=normaliser)

    @torch.inference_mode()
    def evaluate(self, split: Split) -> Tally | ErrorTally:
        """Return counts and losses over a whole split, still on the device."""
        network, tally = self.scored.eval(), self.tally()
        views = self.data.augment if self.settings.tta else None
        size = self.feed.portion(self.settings.eval_batch_size)
        for images, labels in self.feed.whole(split, size):
            with hardware.autocast(self.device, self.settings.precision):
                logits = mean_outputs(network, images, views)
            tally.add(logits, labels, self.loss.score(logits, labels))
        return tally

    def tally(self) -> Tally | ErrorTally:
        """Return an empty tally for the evaluation of this learner."""
        if self.data.regression:
            return ErrorTally(self.device)
        return Tally(len(self.data.classes), self.device, ranked=self.metric == RANKED)

    def close(self) -> None:
        """Release captured steps, and break reference cycles that would keep the network alive."""
        self.make_step, self.rates, self.forward = None, None, self.network

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, between any two steps."""
        average = {"average": self.average.network.state_dict()} if self.average else {}
        return average | {
            "network": self.network.state_dict(),
            # The groups are the configuration's and the schedule's.
            "optimizer": self.optimizer.state_dict()["state"],
            "epoch": self.epoch,
            "done": self.done,
            "total": self.total,
            # Each epoch resets them, so that they matter only within an epoch.
            "generators": hardware.generators(self.device) if self.done < self.steps else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.network.load_state_dict(state["average"])
        parameter_groups.restore(self.optimizer, state["optimizer"])
        self.epoch, self.done = state["epoch"], state["done"]
        self.total.copy_(state["total"])
        self.generators = state["generators"]
