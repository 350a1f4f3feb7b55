"""Whether training some learners as one would be right, and faster than one after the other."""

import copy
import dataclasses
import itertools
import logging
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch

from tuner.train.data import Split
from tuner.train.fused.crew import Crew
from tuner.train.fused.stack import Form, Unstackable
from tuner.train.fused.updates import RULES
from tuner.train.learner import Learner
from tuner.train.settings import Settings

logger = logging.getLogger("tuner")

# Steps that are timed, after as many that warm up: some 50 ms on a GPU, a second on a CPU.
STEPS = {"cpu": 3}
STEPS_ON_DEVICE = 24
# Rounds in turns; one is enough where it says CLEARLY more or less than the gain that is wanted.
ROUNDS = 5
CLEARLY = 1.5
# A gain below this is not worth what a trial that leaves costs the others.
GAIN = 1.1
# How far the logits of the stack may be from those of a learner alone, as a share of their size:
# bf16 and TF32 differ by about 0.01, networks that the stack mixes up by about 1.
TOLERANCE = 0.05

FORMS: dict[str, tuple[Form, ...]] = {"cpu": ("grouped",)}
FORMS_ON_DEVICE: tuple[Form, ...] = ("grouped", "contiguous", "products")

KNOWN = {
    "epochs", "batch_size", "eval_batch_size", "threads", "precision", "deterministic", "protocol",
    "graph", "checkpoint_every", "fused", "fused_wait", "devices", "clip",
}  # fmt: skip
"""Settings that fused training follows; it is not entered where another one is on."""

Epoch = Callable[[], object]

_chosen: dict[Hashable, Form | None] = {}


def obstacle(learner: Learner) -> str | None:
    """Why this learner cannot be trained with others, or None."""
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
        return "it goes on within an epoch"
    return None


def choose(learners: Sequence[Learner]) -> Form | None:
    """The form in which these learners train fastest as one; None where alone is as fast.

    What was found for a shape is remembered as long as the process lives.
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
            except (Unstackable, RuntimeError) as error:  # of memory, or what does not stack
                lost = isinstance(error, torch.AcceleratorError)
                if lost and "out of memory" not in str(error):  # the device, whatever the form
                    raise
                logger.info("not fused as %s: %s", form, error)
    if not gains:
        return None
    shown = ", ".join(f"{form} {gain:.2f}" for form, gain in gains.items())
    logger.info("%d trials as one are so many times as fast: %s", len(learners), shown)
    best = max(gains, key=lambda form: gains[form])
    return best if gains[best] >= GAIN else None


def _gain(learner: Learner, alone: Epoch, together: Epoch, models: int) -> float:
    """How many times as fast the models train together: the median over rounds in turns.

    What the first round settles is not measured again.
    """
    for epoch in (alone, together):  # makes what is made once
        _timed(learner, epoch)
    found: list[float] = []
    while len(found) < ROUNDS and not (found and not _close(found[0])):
        found.append(models * _timed(learner, alone) / _timed(learner, together))
    return statistics.median(found)


def _close(gain: float) -> bool:
    return GAIN / CLEARLY < gain < GAIN * CLEARLY


@contextmanager
def _alone(learner: Learner, split: Split) -> Iterator[Epoch]:
    """An epoch of ``split`` by a copy of the learner, by the means of a whole run."""
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
    """An epoch of ``split`` by a stack of the learners.

    Raises: Unstackable where it does not compute what they do.
    """
    crew = Crew(learners, form)
    _check(crew, split)

    def train() -> None:
        generators = [_generator(learner) for learner in learners]
        crew.train_epoch(split, 1, generators, generators)

    return train


def _check(crew: Crew, split: Split) -> None:
    """Raises: Unstackable where other images of one network change what comes out of another."""
    models = len(crew.learners)
    whole = crew.learners[0].feed.whole(split, min(8 * models, len(split) // models * models))
    images = next(iter(whole))[0]
    for learner, own, found in zip(
        crew.learners, images.chunk(models), crew.outputs(images), strict=True
    ):
        learner.network.eval()
        with torch.no_grad():
            wanted = learner.network(own).float()
        if (found - wanted).norm() > TOLERANCE * wanted.norm():
            raise Unstackable("the stack computes something else than its networks")


def _timed(learner: Learner, epoch: Epoch) -> float:
    """Seconds of an epoch: on one thread of a CPU that thread's own, whatever else is running."""
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
    """Steps of an epoch."""
    count = len(learner.data.train)
    if learner.settings.protocol == "final":
        count += len(learner.data.validation)
    return count // min(learner.settings.batch_size, count)


def _short(learner: Learner, steps: int) -> Split:
    """The first images of the training split, for so many steps."""
    train = learner.data.train
    count = min(len(train), steps * learner.settings.batch_size)
    return dataclasses.replace(train, images=train.images[:count], labels=train.labels[:count])


def _shape(learners: Sequence[Learner]) -> Hashable:
    """What decides how long a step takes, the number of learners rounded up to a power of 2."""
    first = learners[0]
    shapes = tuple((name, tuple(t.shape)) for name, t in first.network.state_dict().items())
    rounded = 1 << (len(learners) - 1).bit_length()
    return (
        rounded, str(first.network), shapes, type(first.optimizer), first.data.in_shape,
        first.settings.batch_size, first.settings.precision, first.device,
    )  # fmt: skip
