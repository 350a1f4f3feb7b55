"""Find errors of a run before it starts, without decoding or training anything."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.optim import Optimizer

from tuner.config.types import closest
from tuner.errors import ConfigError, Infeasible, Mistake, TunerError
from tuner.train.data import sampling
from tuner.train.data.overview import Overview
from tuner.train.metrics import check_metric, examples, reported
from tuner.train.model import cost
from tuner.train.optim import parameter_groups
from tuner.train.settings import Settings


def check(
    *,
    data: Callable[..., Any],
    model: Callable[..., Any],
    optimizer: Callable[..., Optimizer],
    schedule: Callable[[float], float],
    loss: Callable[..., Any],
    trainer: Settings,
    metric: str,
    measure: Sequence[str] = (),
    **_: object,
) -> Mapping[str, object]:
    """Describe the training for users; the arguments are those of ``engine.train``.

    Returns:
        Facts by name. ``validation_examples``, which the pruner needs, is the number of images
        behind the metric; it is missing if it is unknown.

    Raises:
        ConfigError: All errors that can be found without training: data that are missing or cannot
            be split, invalid settings, and components that do not fit each other.
    """
    mistakes: list[Mistake] = []
    noted = functools.partial(_noted, mistakes)
    with noted("optimizer"):
        _step_once(optimizer)
    with noted("schedule"):
        _follow(schedule)
    seen = None
    with noted("data"):
        seen = _look(data)
    kinds = (False, True) if seen is None else (not seen[0].counts,)
    with noted("study.metric"):
        _any(kinds, lambda regression: check_metric(metric, regression=regression))
    with noted("study.objectives"):
        _any(kinds, lambda regression: check_measured(measure, regression=regression))
    if seen is not None:
        overview = seen[0]
        with noted("loss"):
            loss(overview.counts)
        with noted("data"):
            _check_augmentation(data, overview)
        with noted("model"):
            _check_model(model, overview)
    mistakes.extend(trainer.mistakes())
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)))
    if seen is None:
        return {}
    return {**_facts(*seen, balanced=_is_balanced(data)), **_precision(metric, *seen)}


NOTED = "peak_memory_mb"
"""Facts that the trainer notes for every run, besides the requested measurements."""


def check_measured(names: Sequence[str], *, regression: bool) -> None:
    """Check that this trainer reports the objectives and constraints.

    Raises:
        ConfigError: It does not report one of them.
    """
    known = [*cost.COSTS, NOTED, *reported(regression), "train_loss"]
    bad = [name for name in names if name not in known]
    if bad:
        meant = [word for name in bad if (word := closest(name, known))]
        cure = (
            f"did you mean {' or '.join(map(repr, meant))}? It reports " if meant else "it reports "
        )
        raise ConfigError(
            f"the built-in trainer does not report {' or '.join(bad)}, which study.objectives or"
            " study.constraints request",
            key="study.objectives",
            hint=f"{cure}{', '.join(known)}",
        )


@contextmanager
def _noted(mistakes: list[Mistake], section: str) -> Iterator[None]:
    """Collect the errors of a component; other exceptions get the name of its section."""
    try:
        yield
    except TunerError as error:
        mistakes.extend(m if m.key else m.at(section) for m in error.mistakes)
    except Infeasible:  # the sampler learns to avoid such configurations
        pass
    except Exception as error:
        reason = str(error).splitlines()[:1] or [type(error).__name__]
        mistakes.append(Mistake(section, reason[0]))


def _any(kinds: Sequence[bool], check_kind: Callable[[bool], None]) -> None:
    """Check that one of the possible kinds of data is accepted, or raise the last error."""
    for kind in kinds[:-1]:
        with suppress(ConfigError):
            return check_kind(kind)
    return check_kind(kinds[-1])


def _step_once(optimizer: Callable[..., Optimizer]) -> None:
    """Build an optimiser as a run does, so that torch reports invalid settings."""
    parts = [torch.zeros(shape, requires_grad=True) for shape in ((2, 2), (2,))]
    parameter_groups.built(
        optimizer, [{"params": parts[:1]}, {"params": parts[1:], "weight_decay": 0.0}]
    )


def _follow(schedule: Callable[[float], float]) -> None:
    for progress in (0.0, 0.25, 0.5, 0.75, 1 - 1e-9):
        factor = schedule(progress)
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(
                f"at {progress:.0%} of the run its factor is {factor}",
                key="schedule",
                hint="it multiplies the learning rate, so it must be finite, and 0 or more",
            )


def _look(data: Callable[..., Any]) -> tuple[Overview, tuple[int, int, int]] | None:
    """Return an overview of the data and their splits; None for a source without one."""
    function, keywords = getattr(data, "func", data), getattr(data, "keywords", {})
    overview: Callable[..., Overview] | None = getattr(function, "overview", None)
    if overview is None:
        return None
    found = overview(**keywords)
    empty = [found.classes[label] for label, n in enumerate(found.counts) if not n]
    if empty:
        raise TunerError(
            f"{len(empty)} of {len(found.classes)} classes have no images: {', '.join(empty[:5])}",
            key="data",
            hint="add images, or remove these classes",
        )
    if _is_balanced(data):
        sampling.check(found.counts)
    return found, found.parts(**keywords)


def _is_balanced(data: Callable[..., Any]) -> bool:
    return bool(getattr(data, "keywords", {}).get("balanced"))


def _check_augmentation(data: Callable[..., Any], overview: Overview) -> None:
    augment = getattr(data, "keywords", {}).get("augment")
    side = min(overview.in_shape[1:])
    told = "leaves no pixels of an image of"
    wrong = [
        Mistake(f"data.augment.{name}", f"{value} {told} {side} pixels", f"below {most}")
        for name, most in (("shift", side), ("cutout", 2 * side))
        if (value := getattr(augment, name, 0)) >= most
    ]
    if wrong:
        raise ConfigError(wrong)


def _check_model(model: Callable[..., Any], overview: Overview) -> None:
    """Build the network without memory, or call its own ``check`` instead."""
    function, keywords = getattr(model, "func", model), getattr(model, "keywords", {})
    own = getattr(function, "check", None)
    if own is not None:
        own(overview.in_shape, len(overview.classes), **keywords)
        return
    try:
        with torch.device("meta"):
            model(in_shape=overview.in_shape, num_classes=len(overview.classes))
    except (TunerError, Infeasible):
        raise
    except Exception:  # for example, a network that reads values, which meta tensors do not have
        return


COUNTED = 20
"""Maximum number of classes to list one by one."""
UNEVEN = 3
"""Ratio of the largest to the smallest class from which on a warning is shown."""


def _facts(overview: Overview, sizes: tuple[int, int, int], *, balanced: bool) -> dict[str, str]:
    """Return descriptions of the data, omitting empty entries."""
    facts = {"data": _sentence(overview, sizes), **overview.told}
    if overview.counts:
        facts["classes"] = _counted(overview)
        few, many = min(overview.counts), max(overview.counts)
        if many >= UNEVEN * few and not balanced:
            facts["imbalance"] = (
                f"warning: the largest class has {many / few:.3g} times the images of the smallest;"
                " data.balanced=true visits all equally often"
            )
    return {key: text for key, text in facts.items() if text}


def _precision(metric: str, overview: Overview, sizes: tuple[int, int, int]) -> dict[str, int]:
    """Return the number of validation images behind the metric, if it is known."""
    share = sizes[1] / max(1, sum(overview.counts))
    count = examples(metric, [share * n for n in overview.counts])
    return {"validation_examples": count} if count else {}


def _counted(overview: Overview) -> str:
    """Describe the images per class; for many classes, only the smallest and the largest."""
    told = list(zip(overview.counts, overview.classes, strict=True))
    if len(told) > COUNTED:
        told.sort(key=lambda pair: pair[0])
        return f"from {_class(*told[0])} to {_class(*told[-1])}"
    return ", ".join(_class(*pair) for pair in told)


def _class(count: int, name: str) -> str:
    return f"{name}: {count:,}"


def _sentence(overview: Overview, sizes: tuple[int, int, int]) -> str:
    channels, height, width = overview.in_shape
    what = f"{len(overview.classes)} {'classes' if overview.counts else 'numbers'}"
    learned, scored, held_out = sizes
    return (
        f"{height}x{width}x{channels}, {what}: {learned:,} for training, {scored:,} for"
        f" validation, {held_out:,} held out"
    )
