"""Every exception that tuner raises on purpose.

::

    Exception
    ├── TunerError                 a person must act; the message ends with the cure.  Raised by
    │   │                          an objective it stops the worker, and the trial is requeued
    │   ├── ConfigError            configuration, space or study settings: exit code 2
    │   ├── StorageError           the database cannot be used, or is not ours: exit code 2
    │   │   ├── StorageMissing     … yet: there is no file, or nothing in it
    │   │   ├── StorageAway        … for now: its server does not answer
    │   │   └── StorageLost        … any more: it is away for too long, refuses, or is damaged
    │   ├── LaunchError            the engine that runs the workers does not answer
    │   ├── StudyError             the study in the database does not match what was asked
    │   │   ├── StudyMissing       … but there is none of its name
    │   │   └── RowRefused         … and a trial in it holds what this command would not have run
    │   └── TooManyFailures        the objective fails too often to go on
    └── Infeasible                 this configuration cannot work; the search learns to avoid it
        └── Diverged               … because its loss became NaN or infinite
    BaseException
    └── Stop                       leaves an objective through `report`; user code lets it pass
        ├── Pruned                 the trial is not worth finishing
        ├── Preempted              this process must leave; the trial goes on elsewhere
        └── Fenced                 the trial now belongs to another worker

``Stop`` derives from ``BaseException`` so that an objective's own ``except Exception`` cannot
swallow a prune.  Objectives may raise ``Infeasible`` (with the reason as its message) themselves.
"""

import re
from collections.abc import Iterable, Sequence


class TunerError(Exception):
    """Something a person must correct; ``str(error)`` says what, what was got, and the cure."""

    exit_code = 1


class ConfigError(TunerError):
    """One or more mistakes in the configuration, found before any work and reported together."""

    exit_code = 2

    def __init__(self, mistakes: str | Sequence[str]) -> None:
        self.mistakes = [mistakes] if isinstance(mistakes, str) else list(mistakes)
        count = len(self.mistakes)
        head = "" if count == 1 else f"{count} mistakes:\n"
        super().__init__(head + "\n".join(self.mistakes))


def blamed(mistakes: Iterable[str], *, whole: bool = False) -> set[str]:
    """The sections that mistakes begin with, ``study`` of ``study.n_trials: …``.

    With ``whole`` the keys, ``study.n_trials``.  Overrides may stand for mistakes.
    """
    end = r"[^\w.-]" if whole else r"[^\w-]"
    return {re.split(end, line.lstrip("+~"), maxsplit=1)[0] for line in mistakes}


class StorageError(TunerError):
    """The study's database cannot be used."""

    exit_code = 2


class StorageMissing(StorageError):
    """The database does not exist, or contains no tables yet."""


class StorageAway(StorageError):
    """Its server does not answer.  It may soon; or the address is wrong."""


class StorageLost(StorageError):
    """It served, and no longer does: away for ``storage.patience`` seconds, or for good."""

    exit_code = 1


class LaunchError(TunerError):
    """The engine that runs the workers does not answer."""


class StudyError(TunerError):
    """The stored study differs from the one asked for."""

    exit_code = 2


class StudyMissing(StudyError):
    """The database has no study of this name."""


class RowRefused(StudyError):
    """A trial in the database holds words or values that this command would not have made itself.

    One or more mistakes, each with the trial, the key and the cure.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))


class TooManyFailures(TunerError):
    """More trials failed than ``worker.max_failure_rate`` allows."""


class Infeasible(Exception):
    """The configuration cannot be trained at all (a feature map that vanishes, no memory)."""


class Diverged(Infeasible):
    """The loss became NaN or infinite."""


class Stop(BaseException):
    """Raised by ``report`` to leave the objective."""


class Pruned(Stop):
    """The pruner gave the trial up."""


class Preempted(Stop):
    """The process was asked to leave; the trial is requeued from its checkpoint."""


class Fenced(Stop):
    """The trial was given to another worker while this one was not heard of."""
