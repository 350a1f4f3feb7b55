"""The exceptions that tuner raises on purpose.

::

    Exception
    ├── TunerError                 the user must act; the message ends with a hint. If an
    │   │                          objective raises it, the worker stops and requeues the trial
    │   ├── ConfigError            configuration, space or study settings: exit code 2
    │   ├── StorageError           the database cannot be used, or is not Optuna's: exit code 2
    │   │   ├── StorageMissing     there is no such file, or it has no tables
    │   │   ├── StorageAway        its server does not answer now
    │   │   └── StorageLost        it worked, but is now unavailable for too long, or damaged
    │   ├── LaunchError            the engine that runs the workers does not answer
    │   ├── StudyError             the study in the database does not match the requested one
    │   │   ├── StudyMissing       the database has no study of this name
    │   │   └── RowRefused         this command would not have created a trial of the study
    │   └── TooManyFailures        the objective fails too often to continue
    └── Infeasible                 this configuration cannot work; the sampler avoids its like
        └── Diverged               … because its loss became NaN or infinite
    BaseException
    └── Stop                       raised by `report` to leave an objective; do not catch it
        ├── Pruned                 the trial is not worth finishing
        ├── Preempted              this process must leave; the trial is resumed elsewhere
        └── Fenced                 the trial now belongs to another worker

``Stop`` derives from ``BaseException`` so that an ``except Exception`` in an objective does not
catch it. Objectives may raise ``Infeasible`` themselves, with the reason as the message.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Mistake:
    """An error in one key of the configuration, and a hint."""

    key: str
    """The key with the error, such as ``model.width``; empty if it is not about a key."""
    problem: str
    """The error: what was expected, and what was given."""
    hint: str = ""
    when: tuple[str, ...] = ()
    """Options with which it is an error, such as ``optimizer=sgd``; empty if always."""

    @property
    def section(self) -> str:
        """The first part of the key."""
        return section(self.key)

    def at(self, key: str) -> "Mistake":
        """Return the same error of another key."""
        return replace(self, key=key)

    def within(self, place: object) -> "Mistake":
        """Return the same error, located in a file or another place that the problem then names."""
        return replace(self, problem=f"{place}: {self.problem}")

    def __str__(self) -> str:
        """Return one line that ends in the hint, then further lines of the problem."""
        key = f"{self.key}: " if self.key else ""
        first, *below = self.problem.split("\n")
        when = f" (when {', '.join(self.when)})" if self.when else ""
        return "\n".join([f"{key}{first}{when}{hinted(self.hint)}", *below])


def hinted(hint: str) -> str:
    """Return the end of a message with this hint; empty without one."""
    return f"; hint: {hint}" if hint else ""


def section(key: str) -> str:
    """Return the first part of a key or override, as ``model`` of ``+model.width=8``."""
    return re.split(r"[^\w-]", key.lstrip("+~"), maxsplit=1)[0]


class TunerError(Exception):
    """One or more errors that the user must correct, reported together.

    Args:
        problem: What is wrong; or a sequence of ``Mistake``.
        key: The key at fault, such as ``model.width``.
        hint: How to correct it.

    Example:
        >>> raise TunerError("the disk is full", hint="remove old studies")
        Traceback (most recent call last):
        tuner.errors.TunerError: the disk is full; hint: remove old studies
    """

    exit_code = 1

    def __init__(self, problem: str | Sequence[Mistake], *, key: str = "", hint: str = "") -> None:
        self.mistakes = [Mistake(key, problem, hint)] if isinstance(problem, str) else list(problem)
        count = len(self.mistakes)
        head = "" if count == 1 else f"{count} errors:\n"
        super().__init__(head + "\n".join(map(str, self.mistakes)))


class ConfigError(TunerError):
    """Errors in the configuration, found before any work.

    Raise it in the ``check`` of an objective, or in a launcher's ``describe``.

    Args:
        problem: What was expected and what was given; or a sequence of ``Mistake``.
        key: The key at fault, such as ``objective.width``.
        hint: How to correct it.

    Example:
        >>> raise ConfigError("expected an even number, got 3", key="objective.width", hint="4")
        Traceback (most recent call last):
        tuner.errors.ConfigError: objective.width: expected an even number, got 3; hint: 4
    """

    exit_code = 2


class StorageError(TunerError):
    """The study's database cannot be used."""

    exit_code = 2


class StorageMissing(StorageError):
    """The database does not exist, or contains no tables yet."""


class StorageAway(StorageError):
    """The database server does not answer, because it is down or the address is wrong."""


class StorageLost(StorageError):
    """The database worked, but is unavailable for ``storage.patience`` seconds, or for good."""

    exit_code = 1


class LaunchError(TunerError):
    """The engine that runs the workers does not answer."""


class StudyError(TunerError):
    """The stored study differs from the requested one."""

    exit_code = 2


class StudyMissing(StudyError):
    """The database has no study of this name."""


class RowRefused(StudyError):
    """A trial in the database has overrides or values that this command would not have created.

    It has one or more errors, each with the trial, the key and a hint.
    """


class TooManyFailures(TunerError):
    """More trials failed than ``worker.max_failure_rate`` allows."""


class Infeasible(Exception):
    """The configuration cannot be trained at all (a feature map of size zero, out of memory).

    Raise it in an objective: the trial is pruned with the reason, and the sampler avoids similar
    configurations.

    Args:
        reason: Why it cannot be trained, in a few words.
        hint: How to exclude such configurations.

    Example:
        >>> raise Infeasible("5 poolings of 8x8 pixels", hint="model.depth of 3 or less")
        Traceback (most recent call last):
        tuner.errors.Infeasible: 5 poolings of 8x8 pixels; hint: model.depth of 3 or less
    """

    reason = hint = ""

    def __init__(self, reason: object = "", *, hint: str = "") -> None:
        self.reason, self.hint = str(reason), hint
        super().__init__(f"{reason}{hinted(hint)}")


class Diverged(Infeasible):
    """The loss became NaN or infinite."""


class Stop(BaseException):
    """Raised by ``report`` to leave the objective."""


class Pruned(Stop):
    """The pruner stopped the trial, or it is infeasible for ``reason``.

    ``kind`` is one of ``tuner.storage.reason_kind.Kind``.
    """

    def __init__(self, reason: str = "", kind: str = "pruned") -> None:
        self.kind = kind
        super().__init__(reason)


class Preempted(Stop):
    """The process was asked to stop; the trial is requeued from its checkpoint."""


class Fenced(Stop):
    """The trial was given to another worker because this one sent no heartbeats."""
