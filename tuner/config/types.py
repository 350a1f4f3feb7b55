"""The typed sections of the configuration. Types are declared here, values in ``conf/``.

``conforms`` alone decides what a wrong type is, for these sections and, through the signatures of
the callables that ``_target_`` names, for everything else in the configuration.
"""

import difflib
import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tuner.config.bounds import Bounds, NonNegative
from tuner.errors import ConfigError, Mistake

Direction = Literal["maximize", "minimize"]
StopWhen = Literal["never", "gain_below_noise"]


@dataclass(frozen=True)
class StudySettings:
    """The study: its name, metric, budget of configurations and first trials."""

    name: str
    dir: str
    metric: str
    direction: Direction
    objectives: dict[str, Direction] | None
    """Further objectives besides the metric."""
    constraints: dict[str, NonNegative] | None
    """Upper limits of reported values."""
    n_trials: int | None
    keep_checkpoints: int | None
    """Number of best completed configurations whose checkpoints are kept; None: all."""
    mirror: str | None
    """An fsspec URL to which run directories are copied."""
    enqueue_defaults: bool
    enqueue: list[list[str] | str]
    prior: str | None
    """Name of a study whose best configurations are tried before the sampler's own."""
    prior_url: str | None
    prior_best: int


@dataclass(frozen=True)
class BudgetSettings:
    """Budgets of a study over its lifetime, besides ``study.n_trials``; null: no limit."""

    epochs: int | None
    hours: float | None
    """Hours with at least one active worker."""
    device_hours: float | None
    stop_when: StopWhen
    noise: float | None
    """Standard deviation of the final metric over seeds; null: it is measured."""
    repeats: int
    """Number of repeats of the best configuration by which the noise is measured."""


@dataclass(frozen=True)
class StorageSettings:
    """The study's database."""

    url: str
    artifacts: str
    """Directory of the images that the dashboard shows, for all studies of the database."""
    patience: float
    """Seconds that a worker waits for an unreachable database."""


@dataclass(frozen=True)
class WorkerSettings:
    """Worker heartbeat, retry and failure limits."""

    heartbeat: float
    """Seconds between two heartbeats."""
    grace: float
    """Seconds without a heartbeat after which a worker is lost and its trial is requeued."""
    max_retries: int
    """Maximum number of crashes per configuration; preemptions are not counted."""
    max_failure_rate: float
    """Fraction of finished configurations that may FAIL before the worker stops."""
    min_failures: int
    """Number of failures below which the fraction is not applied."""
    turn: float | None
    """Minutes after which a worker gives way if others wait for its slot; None: never."""
    concurrency: int
    """Number of concurrent trials in one process, each in a thread."""
    device: str | None
    """Device such as ``cuda:0``; null lets the objective choose."""


@dataclass(frozen=True)
class FinalSettings:
    """How ``tuner final`` selects the winner among the finalists, and trains it."""

    finalists: int
    race_seeds: int
    error: float
    seeds: int
    overrides: list[str]


HINTS = {
    "study.objectives": "'study.objectives={parameters: minimize}', what to trade for the metric",
    "study.constraints": "'study.constraints={parameters: 1e6}', what must not come out above",
}
"""Key → its syntax and meaning."""

SECTIONS: Mapping[str, type] = {
    "study": StudySettings,
    "budget": BudgetSettings,
    "storage": StorageSettings,
    "worker": WorkerSettings,
    "final": FinalSettings,
}


def conforms(value: object, annotation: Any) -> bool:
    """Return whether a configuration value may be passed where ``annotation`` is declared.

    An int is accepted as a float and a str as a path; nothing else is converted. Annotations that
    cannot be checked (``Any``, callables, type variables) accept everything. ``Annotated`` values
    must lie within their ``Bounds``.
    """
    if annotation is None or annotation is type(None):
        return value is None
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        within = all(mark.hold(value) for mark in args[1:] if isinstance(mark, Bounds))
        return within and conforms(value, args[0])
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return any(conforms(value, arg) for arg in args)
    base = origin or annotation
    if base in (Any, Callable) or not isinstance(base, type):
        return True
    return _conforms_to_class(value, base, args)


def _conforms_to_class(value: object, base: type, args: tuple[Any, ...]) -> bool:
    if base is object:
        return True
    if isinstance(value, bool):
        return base is bool
    if base is float:
        whole = isinstance(value, int) and abs(value) <= sys.float_info.max
        return whole or isinstance(value, float)
    if isinstance(value, str):
        return issubclass(str, base) or issubclass(base, PathLike)
    if isinstance(value, list | tuple):
        return _items_conform(list(value), base, args)
    if isinstance(value, dict):
        inner = args[1] if len(args) == 2 else Any
        return issubclass(dict, base) and all(conforms(v, inner) for v in value.values())
    return isinstance(value, base)


def _items_conform(value: list[object], base: type, args: tuple[Any, ...]) -> bool:
    if base is tuple and args and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(map(conforms, value, args))
    inner = args[0] if args else Any
    return (base is tuple or issubclass(list, base)) and all(conforms(v, inner) for v in value)


def type_name(annotation: Any) -> str:
    """Return the annotation for users: ``int | null``, ``'max' | 'avg'``, ``[int, int]``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([type_name(args[0]), *(str(m) for m in args[1:] if isinstance(m, Bounds))])
    if origin is Literal:
        return " | ".join(repr(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in filter(_writable, args))
    if isinstance(origin, type) and issubclass(origin, list | tuple | Sequence):
        inner = [type_name(arg) for arg in args if arg is not Ellipsis]
        return (
            f"[{', '.join(inner)}]" if origin is tuple and ... not in args else f"list[{inner[0]}]"
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"dict[{', '.join(map(type_name, args))}]"
    if annotation is type(None):
        return "null"
    if origin is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _writable(annotation: Any) -> bool:
    """Return whether a configuration can contain such a value, unlike a Tensor."""
    kinds = (bool, int, float, str, list, tuple, dict, type(None), PathLike, Sequence, Mapping)
    return not isinstance(annotation, type) or issubclass(annotation, kinds)


def mistake(path: str, annotation: Any, value: object, hint: str = "") -> Mistake:
    """A value of a wrong type: what was expected, what was got, the cure."""
    hint = hint or HINTS.get(path, "")
    if not hint and isinstance(value, str):
        meant = closest(value, _words(annotation))
        hint = f"did you mean {meant!r}?" if meant else ""
    got = f"{value!r} ({type(value).__name__})"
    return Mistake(path, f"expected {type_name(annotation)}, got {got}", hint)


def _words(annotation: Any) -> list[str]:
    """Return the strings that a ``Literal`` allows, alone or in a union."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _words(part)]


def bare(annotation: Any) -> Any:
    """Return the annotation without bounds at its top."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


Builder = TypeVar("Builder", bound=Callable[..., Any])


def judged(section: str) -> Callable[[Builder], Builder]:
    """Has a function refuse arguments out of the bounds that its own signature declares.

    Raises: ConfigError with all of them, named as keys of ``section``.
    """

    def judging(build: Builder) -> Builder:
        signature = inspect.signature(build)

        @functools.wraps(build)
        def built(*args: Any, **keywords: Any) -> Any:
            given = signature.bind(*args, **keywords)
            given.apply_defaults()
            require(build, given.arguments, section)
            return build(*args, **keywords)

        return built  # type: ignore[return-value]

    return judging


def require(declared: Any, values: Mapping[str, object], section: str) -> None:
    """Raises: ConfigError for ``values`` out of the bounds of a function's or class's hints."""
    found = [
        mistake(f"{section}.{name}", annotation, values[name])
        for name, annotation in get_type_hints(declared, include_extras=True).items()
        if name in values and _bounded(annotation) and not conforms(values[name], annotation)
    ]
    if found:
        raise ConfigError(found)


def _bounded(annotation: Any) -> bool:
    return isinstance(annotation, Bounds) or any(map(_bounded, get_args(annotation)))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint with the nearest known word, or a list of some of them."""
    if close := closest(word, known):
        return f"did you mean {close!r}?"
    shown = ", ".join(known[:12])
    return f"known are {shown}{', …' if len(known) > 12 else ''}" if shown else "none is known"


def closest(word: str, known: Sequence[str]) -> str:
    """Return the known word that this may be a typo of, empty if none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), "")
