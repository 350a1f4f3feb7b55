"""One configuration in training: the step, the epoch, the evaluation.

Nothing in here waits for the device: losses and counts add up on it, and whoever asks for the
numbers (once an epoch) pays for the one transfer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tuner.errors import ConfigError
from tuner.train import optim
from tuner.train.data import Data, Split
from tuner.train.hardware import Precision, autocast
from tuner.train.loss import Loss
from tuner.train.scores import Tally


@dataclass(frozen=True)
class Settings:
    """How long, in which portions and how exactly to train (``conf/trainer``)."""

    epochs: int
    batch_size: int
    eval_batch_size: int
    threads: int
    precision: Precision
    deterministic: bool
    protocol: Literal["search", "final"]
    fused: int
    fused_wait: float
    devices: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_batch_size", "threads", "fused", "devices"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name}={getattr(self, name)}: it must be at least 1")


class Learner:
    """A network with its optimiser, schedule and loss, on the device of its data."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[float], float],
        loss: Loss,
        data: Data,
        settings: Settings,
    ) -> None:
        self.device = data.mean.device
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = optimizer(optim.groups(self.network))
        self.schedule = schedule
        self.loss = loss.to(self.device)
        self.data = data
        self.settings = settings
        self.weights = list(optim.weights(self.network))

    def train_epoch(self, split: Split, epoch: int, generator: torch.Generator) -> Tensor:
        """Trains one pass over ``split`` in a new order; ``epoch`` counts from 1.

        Every step has the same shape: the images left over after the last whole batch sit this
        epoch out.  Returns the mean loss, a scalar on the device.
        """
        self.network.train()
        size = min(self.settings.batch_size, len(split))
        steps = len(split) // size
        order = torch.randperm(len(split), generator=generator, device=self.device)
        draws = self.data.augment.draw(len(split), self.data.in_shape[1:], generator)
        total = torch.zeros((), device=self.device)
        for step in range(steps):
            progress = ((epoch - 1) * steps + step) / (self.settings.epochs * steps)
            optim.set_factor(self.optimizer, self.schedule(progress))
            batch = slice(step * size, (step + 1) * size)
            total += self.step(split, order[batch], draws[batch])
        return total / steps

    def step(self, split: Split, index: Tensor, draws: Tensor) -> Tensor:
        """One optimiser step on the images number ``index``; the loss, on the device."""
        images = self.data.normalise(self.data.augment.take(split.images, index, draws))
        labels = split.labels.index_select(0, index)
        with autocast(self.device, self.settings.precision):
            loss: Tensor = self.loss(self.network(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss.penalise(self.weights)
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def evaluate(self, split: Split) -> Tally:
        """Counts and losses over a whole split, still on the device."""
        self.network.eval()
        tally = Tally(len(self.data.classes), self.device)
        size = self.settings.eval_batch_size
        for start in range(0, len(split), size):
            images, labels = split.images[start : start + size], split.labels[start : start + size]
            with autocast(self.device, self.settings.precision):
                logits = self.network(self.data.normalise(images))
            logits = logits.float()
            tally.add(logits, labels, self.loss.score(logits, labels))
        return tally

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
