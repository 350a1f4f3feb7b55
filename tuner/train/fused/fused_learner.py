"""Train k learners of one shape as one: their batches, their step, their evaluation."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from tuner.train.data.tensors import Split
from tuner.train.device import cuda_graph, hardware
from tuner.train.fused import dropout, losses, optimizer_steps, stacked_modules, step_settings
from tuner.train.fused.dropout import Masks
from tuner.train.fused.optimizer_steps import Numbers, Table
from tuner.train.fused.stacked_modules import Form
from tuner.train.learner import Learner
from tuner.train.metrics import ErrorTally, Tally


class FusedLearner:
    """Trains learners together; ``store`` writes the results back to them.

    ``weights`` [k, n] holds the trained parameters of each, ``state`` the optimiser's tensors of
    the same shape, ``buffers`` (running statistics) tensors [k, …].
    """

    def __init__(self, learners: Sequence[Learner], form: Form) -> None:
        """Stack the learners.

        Raises:
            stacked_modules.Unstackable: The networks cannot be stacked.
        """
        first = learners[0]
        self.learners, self.form = list(learners), form
        self.data, self.settings, self.device = first.data, first.settings, first.device
        self.rule = optimizer_steps.RULES[type(first.optimizer)]
        self.shapes = {name: p.shape for name, p in first.network.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.kinds, self.columns = step_settings.kinds(first)
        self.loss = losses.stacked([learner.loss for learner in learners], self.device)
        self.total = torch.zeros(len(learners), device=self.device)
        self.network = stacked_modules.stacked(first.network, form)
        self.make_step: Callable[..., None] | None = None
        self.layout: tuple[Any, ...] = ()
        self._load()
        self.masks = self._masks()

    # Between the learners and the stack

    def _load(self) -> None:
        networks = [learner.network for learner in self.learners]
        self.weights = torch.stack([_row(network.parameters()) for network in networks])
        self.weights.requires_grad_()
        buffers = [dict(network.named_buffers()) for network in networks]
        self.buffers = {name: torch.stack([b[name] for b in buffers]) for name in buffers[0]}
        self.state = {name: torch.zeros_like(self.weights.detach()) for name in self.rule.state}
        for model, learner in enumerate(self.learners):
            for name, tensors in step_settings.state(learner, self.rule).items():
                self.state[name][model] = _row(tensors)

    @torch.no_grad()
    def store(self, steps: int) -> None:
        """Write each learner's tensors back; ``steps`` is the number of steps since its first."""
        for model, learner in enumerate(self.learners):
            torch._foreach_copy_(
                list(learner.network.parameters()), self._parts(self.weights[model])
            )
            for name, buffer in learner.network.named_buffers():
                buffer.copy_(self.buffers[name][model])
            step_settings.begin_state(learner, self.rule, steps)
            for name, tensors in step_settings.state(learner, self.rule).items():
                torch._foreach_copy_(tensors, self._parts(self.state[name][model]))

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Split [k, n] into the parameters' own shapes: […, n] → […, *shape]."""
        parts = torch.split(rows, self.sizes, dim=-1)
        leading = rows.shape[:-1]
        return [p.view(*leading, *s) for p, s in zip(parts, self.shapes.values(), strict=True)]

    # Training

    def train_epoch(
        self,
        split: Split,
        epoch: int,
        orders: Sequence[torch.Generator],
        streams: Sequence[torch.Generator],
    ) -> int:
        """Train one pass of every learner over ``split``, each in the order of its generator.

        ``streams`` are the generators of dropout. The losses are added to ``total``.

        Returns:
            The number of steps.
        """
        self.network.train()
        size = min(self.settings.batch_size, len(split))
        steps = len(split) // size
        drawn = [self._draw(split, generator, steps * size) for generator in orders]
        order, draws = (_interleaved(parts, steps) for parts in zip(*drawn, strict=True))
        table = self._table(epoch, steps)
        make_step = self._step(table)
        self.total.zero_()
        batches = self.learners[0].feed.epoch(split, order, draws, size * len(self.learners))
        dropped = self.masks.epoch(streams, steps)
        for batch, row, mask in zip(batches, table.values, dropped, strict=True):
            make_step(*batch, row, *mask)
        return steps

    def _draw(self, split: Split, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw order and augmentation of one learner's epoch, as it would alone."""
        order = self.learners[0].order(split, generator)
        draws = self.data.augment.draw(len(split), self.data.in_shape[1:], generator)
        return order[:count], draws[:count]

    def _table(self, epoch: int, steps: int) -> Table:
        """Return the numbers of all learners in the epoch's steps."""
        made = np.arange((epoch - 1) * steps + 1, epoch * steps + 1, dtype=np.float64)
        numbers: list[list[Numbers]] = []
        for learner in self.learners:
            factors = np.array(learner.factors(epoch, steps))
            groups = learner.optimizer.param_groups
            numbers.append(
                [
                    step_settings.numbers(
                        self.rule, groups[group], learner.loss, penalised, factors, made
                    )
                    for group, penalised in self.kinds
                ]
            )
        return Table(numbers, steps, self.columns)

    def _step(self, table: Table) -> Callable[..., None]:
        """Return the step, captured if possible; it is captured again if its work has changed."""
        if self.make_step is None or table.layout != self.layout:
            self.layout = table.layout

            fused_learner = weakref.proxy(
                self
            )  # a reference cycle would delay freeing the device's memory

            def step(images: Tensor, labels: Tensor, row: Tensor, *dropped: Tensor) -> None:
                fused_learner._make_step(images, labels, table.now(row), dropped)

            captured = self.device.type == "cuda" and self.settings.graph != "eager"
            self.make_step = cuda_graph.Capture(step, self.device) if captured else step
        return self.make_step

    def _make_step(
        self, images: Tensor, labels: Tensor, now: optimizer_steps.Now, dropped: Sequence[Tensor]
    ) -> None:
        """Run one step of all on images [k·b, C, H, W] and labels [k·b], ordered by learner."""
        models = len(self.learners)
        dropout.put(self.network, dropped)
        with hardware.autocast(self.device, self.settings.precision):
            maps = self._forward(stacked_modules.side_by_side(images, models, self.form))
            loss = self.loss(stacked_modules.apart(maps, models), labels.view(models, -1))
        (gradient,) = torch.autograd.grad(loss.sum(), self.weights)
        with torch.no_grad():
            weights = self.weights.detach()
            optimizer_steps.step(self.rule, weights, gradient, now, self.state, self.settings.clip)
            self.total += loss

    def _forward(self, maps: Tensor) -> Tensor:
        """Apply the stack: [b, k·C, H, W] → [b, k·classes]."""
        tensors = dict(zip(self.shapes, self._parts(self.weights), strict=True))
        found: Tensor = functional_call(self.network, (tensors, self.buffers), (maps,))
        return found

    def _masks(self) -> Masks:
        """Return the masks of a step, with shapes determined on the meta device."""
        channels, height, width = self.data.in_shape
        size = min(self.settings.batch_size, len(self.data.train))
        maps = torch.empty(size, len(self.learners) * channels, height, width, device="meta")
        self.network.train()
        tensors = [
            dict(zip(self.shapes, self._parts(self.weights.detach().to("meta")), strict=True)),
            {name: buffer.to("meta") for name, buffer in self.buffers.items()},
        ]
        functional_call(self.network, tensors, (maps,))
        shapes = dropout.shapes(self.network)
        rates = [
            [layer.p for layer in dropout.layers(learner.network)] for learner in self.learners
        ]
        return Masks([list(layer) for layer in zip(*rates, strict=True)], shapes)

    # Evaluation

    @torch.no_grad()
    def evaluate(self, split: Split) -> list[Tally | ErrorTally]:
        """Return what ``Learner.evaluate`` returns, for each of the learners.

        As many values pass through the stack at once as through a single network, and all outputs
        (k · n · classes numbers) are counted at once.
        """
        models = len(self.learners)
        size = max(self.settings.eval_batch_size // models, self.settings.batch_size)
        batches = list(self.learners[0].feed.whole(split, size))
        outputs = torch.cat(
            [self.outputs(images.repeat(models, 1, 1, 1)) for images, _ in batches], dim=1
        )
        labels = torch.cat([labels for _, labels in batches])
        tallies = [learner.tally() for learner in self.learners]
        for learner, tally, own in zip(self.learners, tallies, outputs, strict=True):
            tally.add(own, labels, learner.loss.score(own, labels))
        return tallies

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Tensor:
        """Return each network's outputs for its images [k·b, C, H, W]: float32 [k, b, classes]."""
        models = len(self.learners)
        self.network.eval()
        maps = stacked_modules.side_by_side(images, models, self.form)
        with hardware.autocast(self.device, self.settings.precision):
            found = self._forward(maps)
        return stacked_modules.apart(found, models).float()


def _row(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _interleaved(parts: Sequence[Tensor], steps: int) -> Tensor:
    """Interleave k tensors [steps·b, …] → [steps·k·b, …], learner by learner in each step."""
    stacked = torch.stack(list(parts))
    models, rows, *rest = stacked.shape
    steps_first = stacked.view(models, steps, rows // steps, *rest).transpose(0, 1)
    return steps_first.reshape(models * rows, *rest)
