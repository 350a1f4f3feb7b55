"""Budgets: how much a study may spend over its lifetime, has spent, and why it has ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.config.settings import StopWhen


@dataclass(frozen=True)
class Times:
    """Hours worked on a study, and the sum of its device hours."""

    hours: float = 0.0
    device_hours: float = 0.0


@dataclass(frozen=True)
class Spent:
    """The amounts that all workers have spent; each epoch of a configuration counts once."""

    n_trials: int = 0
    epochs: int = 0
    hours: float = 0.0
    device_hours: float = 0.0


@dataclass(frozen=True)
class LimitUse:
    """One limit, named by its configuration key, and how much of it is spent."""

    key: str
    spent: float
    limit: float

    @property
    def part(self) -> float:
        """The fraction spent, more than 1 if the limit was lowered later."""
        return self.spent / self.limit

    def __str__(self) -> str:
        return f"{self.key}: {self.spent:.4g} of {self.limit:.4g}"


@dataclass(frozen=True)
class Budget:
    """The limits, None for unset ones; ``length`` is the number of epochs of the longest training.

    ``stop_when``, ``noise`` and ``repeats`` are those of ``conf/budget``.
    """

    n_trials: int | None = None
    epochs: int | None = None
    hours: float | None = None
    device_hours: float | None = None
    length: int | None = None
    stop_when: StopWhen = "never"
    noise: float | None = None
    repeats: int = 4
    closed: bool = False
    """Whether only queued trials are run, and no new configurations."""

    @property
    def timed(self) -> bool:
        return self.hours is not None or self.device_hours is not None

    def usage(self, spent: Spent) -> list[LimitUse]:
        """Return the limits that are set, each with the amount spent."""
        known = {
            "study.n_trials": (spent.n_trials, self.n_trials),
            "budget.epochs": (spent.epochs, self.epochs),
            "budget.hours": (spent.hours, self.hours),
            "budget.device_hours": (spent.device_hours, self.device_hours),
        }
        return [LimitUse(key, done, end) for key, (done, end) in known.items() if end is not None]

    def time_over(self, hours: float, device_hours: float) -> str | None:
        """Return the budget of time that is exhausted, or None if there is time left."""
        timed = Budget(hours=self.hours, device_hours=self.device_hours)
        shares = timed.usage(Spent(hours=hours, device_hours=device_hours))
        return next((str(share) for share in shares if share.part >= 1), None)

    def left(self, step: int) -> int:
        """Return the epochs that a trial may need after ``step``; 1 if its length is unknown."""
        return 1 if self.length is None else max(0, self.length - step)

    def fits(self, reported: int, under_way: Sequence[int], needs: int) -> bool:
        """Return whether ``needs`` more epochs may be started.

        Args:
            reported: Epochs that are spent.
            under_way: Epochs that each running trial may still need.
        """
        return self.epochs is None or reported + sum(under_way) + needs <= self.epochs
