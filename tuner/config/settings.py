"""The typed sections of the configuration. Types are declared here, values in ``conf/``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from tuner.config.bounds import Bounds, Count, NonNegative, Part, Positive, Share, Whole

Direction = Literal["maximize", "minimize"]
StopWhen = Literal["never", "gain_below_noise"]
Several = Annotated[int, Bounds(2)]


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
    n_trials: Count | None
    keep_checkpoints: Count | None
    """Number of best completed configurations whose checkpoints are kept; None: all."""
    mirror: str | None
    """An fsspec URL to which run directories are copied."""
    enqueue_defaults: bool
    enqueue: list[list[str] | str]
    prior: str | None
    """Name of a study whose best configurations are tried before the sampler's own."""
    prior_url: str | None
    prior_best: Count


@dataclass(frozen=True)
class BudgetSettings:
    """Budgets of a study over its lifetime, besides ``study.n_trials``; null: no limit."""

    epochs: Count | None
    hours: Positive | None
    """Hours with at least one active worker."""
    device_hours: Positive | None
    stop_when: StopWhen
    noise: Positive | None
    """Standard deviation of the final metric over seeds; null: it is measured."""
    repeats: Several
    """Number of repeats of the best configuration, which measure the noise."""


@dataclass(frozen=True)
class StorageSettings:
    """The study's database."""

    url: str
    artifacts: str
    """Directory of the images that the dashboard shows, for all studies of the database."""
    patience: NonNegative
    """Seconds that a worker waits for an unreachable database."""


@dataclass(frozen=True)
class WorkerSettings:
    """Worker heartbeat, retry and failure limits."""

    heartbeat: Positive
    """Seconds between two heartbeats."""
    grace: float
    """Seconds without a heartbeat after which a worker is lost and its trial is requeued."""
    max_retries: Whole
    """Maximum number of crashes per configuration; preemptions are not counted."""
    max_failure_rate: Share
    """Fraction of finished configurations that may FAIL before the worker stops."""
    min_failures: Whole
    """Number of failures below which the fraction is not applied."""
    turn: Annotated[float, Bounds(0.1)] | None
    """Minutes after which a worker gives its slot back if other jobs are waiting; None: never.

    The least is about ten starts of a worker.
    """
    concurrency: Count
    """Number of concurrent trials in one process, each in a thread."""
    device: str | None
    """Device such as ``cuda:0``; null lets the objective choose."""


@dataclass(frozen=True)
class FinalSettings:
    """How ``tuner final`` selects the winner among the finalists, and trains it."""

    finalists: Count
    race_seeds: Several
    error: Part
    seeds: Count
    overrides: list[str]


SECTIONS: Mapping[str, type] = {
    "study": StudySettings,
    "budget": BudgetSettings,
    "storage": StorageSettings,
    "worker": WorkerSettings,
    "final": FinalSettings,
}
"""Section → its type."""
