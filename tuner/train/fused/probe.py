"""Decide whether training learners together is correct, and faster than one after the other."""

import copy
import dataclasses
import itertools
import logging
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch

from tuner.train.data.tensors import Split
from tuner.train.fused.fused_learner import FusedLearner
from tuner.train.fused.optimizer_steps import RULES
from tuner.train.fused.stacked_modules import Form, Unstackable
from tuner.train.learner import Learner
from tuner.train.settings import Settings

logger = logging.getLogger("tuner")

# Steps to time, after as many for warm-up: about 50 ms on a GPU, a second on a CPU.
STEPS = {"cpu": 3}
STEPS_ON_DEVICE = 24
# Alternating rounds; one is enough if its result is CLEARLY above or below the required gain.
ROUNDS = 5
CLEARLY = 1.5
# A smaller gain does not pay for the cost that the others have when a trial leaves.
GAIN = 1.1
# Maximum relative difference between logits of the stack and of a single learner: bf16 and TF32
# differ by about 0.01, networks that the stack confuses by about 1.
TOLERANCE = 0.05

FORMS: dict[str, tuple[Form, ...]] = {"cpu": ("grouped",)}
FORMS_ON_DEVICE: tuple[Form, ...] = ("grouped", "contiguous", "products")

KNOWN = {
    "epochs", "batch_size", "eval_batch_size", "threads", "precision", "deterministic", "protocol",
    "graph", "checkpoint_every", "fused", "fused_wait", "devices", "clip",
}  # fmt: skip
"""Settings that fused training supports; learners with others are trained alone."""

Epoch = Callable[[], object]

_chosen: dict[Hashable, Form | None] = {}


def obstacle(learner: Learner) -> str | None:
    """Return why this learner cannot be trained with others, or None."""
    optimizer, settings = learner.optimizer, learner.settings
    rule = RULES.get(type(optimizer))
    if rule is None:
        return f"{type(optimizer).__name__} has no fused form"
    for group in optimizer.param_groups:
        for name, value in rule.allowed.items():
            if group.get(name, value) != value:
                return f"optimizer.{name}={group[name]}"
    for field in dataclasses.fields(Settings):
        if field.name not in KNOWN and getattr(settings, field.name) not in (None, False, 0, 1):
            return f"trainer.{field.name}={getattr(settings, field.name)}"
    if learner.data.augment.mixup or learner.data.augment.cutmix:
        return "data.augment.mixup or cutmix is on"
    if settings.devices > 1:
        return "trainer.devices is above 1"
    if not all(parameter.requires_grad for parameter in learner.network.parameters()):
        return "some of its parameters are frozen"
    if learner.epoch and learner.done != _steps(learner):
        return "it is resumed within an epoch"
    return None


def choose(learners: Sequence[Learner]) -> Form | None:
    """Return the fastest form of training these learners together, None if alone is as fast.

    The result for a shape is cached for the lifetime of the process.
    """
    if len(learners) == 1:
        return None
    key = _shape(learners)
    if key not in _chosen:
        _chosen[key] = _measure(learners)
    return _chosen[key]


def _measure(learners: Sequence[Learner]) -> Form | None:
    first = learners[0]
    steps = STEPS.get(first.device.type, STEPS_ON_DEVICE)
    split = _short(first, steps)
    with _alone(first, split) as alone:
        gains: dict[Form, float] = {}
        for form in FORMS.get(first.device.type, FORMS_ON_DEVICE):
            try:
                gains[form] = _gain(first, alone, _together(learners, form, split), len(learners))
            except (Unstackable, RuntimeError) as error:  # out of memory, or not stackable
                lost = isinstance(error, torch.AcceleratorError)
                if lost and "out of memory" not in str(error):  # the device is lost
                    raise
                logger.info("not fused as %s: %s", form, error)
    if not gains:
        return None
    shown = ", ".join(f"{form} {gain:.2f}" for form, gain in gains.items())
    logger.info("speed-up of training %d trials as one network: %s", len(learners), shown)
    best = max(gains, key=lambda form: gains[form])
    return best if gains[best] >= GAIN else None


def _gain(learner: Learner, alone: Epoch, together: Epoch, models: int) -> float:
    """Return the speed of training together relative to alone: a median of alternating rounds.

    If the first round is decisive, no further ones are measured.
    """
    for epoch in (alone, together):  # warm up one-time work
        _timed(learner, epoch)
    found: list[float] = []
    while len(found) < ROUNDS and (not found or GAIN / CLEARLY < found[0] < GAIN * CLEARLY):
        found.append(models * _timed(learner, alone) / _timed(learner, together))
    return statistics.median(found)


@contextmanager
def _alone(learner: Learner, split: Split) -> Iterator[Epoch]:
    """Train an epoch of ``split`` with a copy of the learner, as a whole run would."""
    steps = len(split) // min(learner.settings.batch_size, len(split))
    whole = _steps(learner) * learner.settings.epochs
    settings = dataclasses.replace(
        learner.settings, epochs=max(2 * ROUNDS * len(FORMS_ON_DEVICE), whole // steps)
    )
    twin = copy.deepcopy(learner, {id(learner.data): learner.data, id(learner.feed): learner.feed})
    twin.settings, twin.epoch, twin.generators = settings, 0, None
    numbers = itertools.count(1)
    try:
        yield lambda: twin.train_epoch(split, next(numbers), _generator(twin))
    finally:
        twin.close()


def _together(learners: Sequence[Learner], form: Form, split: Split) -> Epoch:
    """Train an epoch of ``split`` with a stack of the learners."""
    fused_learner = FusedLearner(learners, form)
    _check(fused_learner, split)

    def train() -> None:
        generators = [_generator(learner) for learner in learners]
        fused_learner.train_epoch(split, 1, generators, generators)

    return train


def _check(fused_learner: FusedLearner, split: Split) -> None:
    """Raise ``Unstackable`` if images of one network change the outputs of another."""
    models = len(fused_learner.learners)
    whole = fused_learner.learners[0].feed.whole(
        split, min(8 * models, len(split) // models * models)
    )
    images = next(iter(whole))[0]
    for learner, own, found in zip(
        fused_learner.learners, images.chunk(models), fused_learner.outputs(images), strict=True
    ):
        learner.network.eval()
        with torch.no_grad():
            wanted = learner.network(own).float()
        if (found - wanted).norm() > TOLERANCE * wanted.norm():
            raise Unstackable("the outputs of the stack differ from those of its networks")


def _timed(learner: Learner, epoch: Epoch) -> float:
    """Return the seconds of an epoch; for one CPU thread, the CPU time of that thread."""
    lone = learner.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if lone else time.perf_counter
    _settle(learner)
    start = clock()
    epoch()
    _settle(learner)
    return clock() - start


def _settle(learner: Learner) -> None:
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)


def _generator(learner: Learner) -> torch.Generator:
    return torch.Generator(learner.device).manual_seed(0)


def _steps(learner: Learner) -> int:
    """Return the number of steps of an epoch."""
    count = len(learner.data.train)
    if learner.settings.protocol == "final":
        count += len(learner.data.validation)
    return count // min(learner.settings.batch_size, count)


def _short(learner: Learner, steps: int) -> Split:
    """Return the first images of the training split, enough for the given number of steps."""
    train = learner.data.train
    count = min(len(train), steps * learner.settings.batch_size)
    return dataclasses.replace(train, images=train.images[:count], labels=train.labels[:count])


def _shape(learners: Sequence[Learner]) -> Hashable:
    """Return what determines the time of a step, with the count rounded to a power of 2."""
    first = learners[0]
    shapes = tuple((name, tuple(t.shape)) for name, t in first.network.state_dict().items())
    rounded = 1 << (len(learners) - 1).bit_length()
    return (
        rounded, str(first.network), shapes, type(first.optimizer), first.data.in_shape,
        first.settings.batch_size, first.settings.precision, first.device,
    )  # fmt: skip
