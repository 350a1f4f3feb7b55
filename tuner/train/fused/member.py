"""A trial that is trained together with others of its shape, as long as that is faster."""

import logging
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from tuner.train.checkpoint.checkpoint import Recipe
from tuner.train.data.tensors import Split
from tuner.train.device import hardware
from tuner.train.fused import probe, rendezvous
from tuner.train.fused.fused_learner import FusedLearner
from tuner.train.fused.stacked_modules import Form
from tuner.train.learner import Learner
from tuner.train.metrics import ErrorTally, Tally

logger = logging.getLogger("tuner")

FREE = {
    "seed", "model.dropout", "model.initialisation",
    "loss.label_smoothing", "loss.class_weights", "loss.l1", "loss.l2",
    "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay", "optimizer.betas",
    "optimizer.eps", "optimizer.alpha",
}  # fmt: skip
"""Settings that may differ between trials that are trained together, besides the schedule."""


def join(learner: Learner, recipe: Recipe) -> "Learner | Member":
    """Return the learner itself, or a member that is trained with those of other threads."""
    settings = learner.settings
    if settings.fused == 1:
        return learner
    if reason := probe.obstacle(learner):
        logger.info("trained alone, not fused: %s", reason)
        return learner
    member = Member(learner)
    member.group = rendezvous.meet(
        _key(learner, recipe), member, size=settings.fused, wait=settings.fused_wait
    )
    member.group.together(_choose)
    return member


def _key(learner: Learner, recipe: Recipe) -> Hashable:
    """Return a key that is equal for learners that can be stacked at the same step."""
    equal = {
        name: repr(value)
        for name, value in recipe.items()
        if name not in FREE and not name.startswith("schedule")
    }
    shapes = [(name, tuple(t.shape)) for name, t in learner.network.state_dict().items()]
    device = learner.device
    return *sorted(equal.items()), *shapes, device, learner.settings.fused, learner.epoch


class Member:
    """Stands in for its learner in ``engine.train``; the learner holds the results."""

    group: "rendezvous.Group[Member]"

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.form: Form | None = None
        self.fused_learner: FusedLearner | None = None
        self.tally: Tally | ErrorTally | None = None
        self.wanted: tuple[torch.Generator, torch.Generator]

    def train_epoch(
        self, split: Split, epoch: int, generator: torch.Generator, between: Callable[[], None]
    ) -> Tensor:
        """Train an epoch like ``Learner.train_epoch``, with one call of ``between`` after it."""
        if self._alone or epoch == self.learner.epoch:  # a resumed run has already begun it
            return self.learner.train_epoch(split, epoch, generator, between)
        before = hardware.generators(self.learner.device)
        self.wanted = generator, _stream(self.learner.device)
        self.group.together(lambda members: _train(members, split, epoch))
        if self.learner.epoch != epoch:  # all others have left after seeding the streams
            hardware.set_generators(before, self.learner.device)
            return self.learner.train_epoch(split, epoch, generator, between)
        between()
        return self.learner.total / self.learner.done

    def evaluate(self, split: Split) -> Tally | ErrorTally:
        """Evaluate like ``Learner.evaluate``."""
        if self._alone:
            return self.learner.evaluate(split)
        self.group.together(lambda members: _evaluate(members, split))
        assert self.tally is not None
        return self.tally

    @property
    def _alone(self) -> bool:
        """Return whether no other member is left, or training together is not faster."""
        return self.form is None or len(self.group.items) == 1


def _choose(members: Sequence[Member]) -> None:
    form = probe.choose([member.learner for member in members])
    for member in members:
        member.form = form


def _train(members: Sequence[Member], split: Split, epoch: int) -> None:
    if len(members) == 1:
        return
    fused_learner = _fused_learner(members)
    orders, streams = zip(*(member.wanted for member in members), strict=True)
    steps = fused_learner.train_epoch(split, epoch, orders, streams)
    fused_learner.store(epoch * steps)
    for member, total in zip(members, fused_learner.total, strict=True):
        learner = member.learner
        learner.epoch, learner.done = epoch, steps
        learner.total.copy_(total)


def _evaluate(members: Sequence[Member], split: Split) -> None:
    if len(members) == 1:
        members[0].tally = members[0].learner.evaluate(split)
        return
    for member, tally in zip(members, _fused_learner(members).evaluate(split), strict=True):
        member.tally = tally


def _fused_learner(members: Sequence[Member]) -> FusedLearner:
    """Return the stack of these members, a new one after some have left."""
    fused_learner = members[0].fused_learner
    learners = [member.learner for member in members]
    if fused_learner is None or fused_learner.learners != learners:
        assert members[0].form is not None
        fused_learner = FusedLearner(learners, members[0].form)
        for member in members:
            member.fused_learner = fused_learner
    return fused_learner


def _stream(device: torch.device) -> torch.Generator:
    """Return a generator in the state of torch's own, for the dropout of this trial."""
    on_cuda = device.type == "cuda"
    state = torch.cuda.get_rng_state(device) if on_cuda else torch.get_rng_state()
    return torch.Generator(device).set_state(state)
