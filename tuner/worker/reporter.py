"""The ``report`` that is passed to an objective and stores the trial's curve and facts."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial

from tuner.algorithms.pruners import score_error
from tuner.algorithms.pruners.merged_attempts import TrialPruner
from tuner.errors import Fenced, Preempted, Pruned, StorageError, TunerError
from tuner.log import log
from tuner.masking import masked
from tuner.objective import measured, plain
from tuner.storage.reason_kind import Kind
from tuner.study.attempts import TRAINING, first_number
from tuner.study.budget import Budget
from tuner.study.plan import Plan
from tuner.study.seed_noise import REPEAT
from tuner.study.study import Study
from tuner.worker import metrics_log
from tuner.worker.mirror import Mirror
from tuner.worker.proposal import Proposer
from tuner.worker.tracking import base

VALIDATION_EXAMPLES = "validation_examples"
"""Name of the fact that the pruner needs."""


@dataclass(frozen=True)
class Context:
    """The parts of a worker that its trial needs."""

    plan: Plan
    study: Study
    proposer: Proposer
    worker: str
    host: str
    device: str | None
    budget: Budget
    preempted: Callable[[], str | None]
    """Returns why this process must stop, or the trial must be paused; None if neither."""
    lost: Callable[[], bool]
    """Returns whether the worker's lease has expired."""
    named: str = "auto"
    """The name of the device, which distinguishes it from the machine's others."""
    reported: Callable[[float], None] = lambda _begun: None
    """Called after each new report with the start of the attempt, by the monotonic clock."""


class Report:
    """The ``report(epoch, **metrics)`` that an objective calls.

    A step that an earlier attempt has stored is not stored again, so that a resumed objective can
    report the epoch of its checkpoint again: the process may have died between checkpoint and
    report. The last of these steps is judged again, because the process may also have died between
    report and judgement.

    Raises:
        Stop: ``Pruned``, ``Preempted`` or ``Fenced``, which the objective must not catch.
    """

    def __init__(self, context: Context, trial: Trial) -> None:
        self.context = context
        self.begun = time.monotonic()
        self.trial = trial
        self.aims = context.plan.aims
        self.metric = self.aims.metric
        stored = context.study.storage.get_trial(trial._trial_id)
        self.number = first_number(stored)
        """The number of the configuration: that of its first attempt."""
        self.first = self.number == stored.number
        """Whether this is the first attempt at the configuration."""
        self.values: dict[int, float] = dict(stored.intermediate_values)
        self.examples = score_error.examples(stored)
        self.unjudged = stored.last_step
        self.pruner = TrialPruner(trial)
        self.refusal: StorageError | None = None
        """The reason why the database rejected a report; the objective may have continued."""
        self.metrics: dict[str, float] = {}
        self.facts: dict[str, float | str] = {}
        self.run_dir: Path | None = None
        self.repeats = REPEAT in stored.system_attrs
        """Whether the trial measures the noise; with pruning, only lucky runs would remain."""
        training = stored.system_attrs.get(TRAINING, {})
        self.scored_once = training.get("protocol") == "final"
        """Whether only the last epoch has the metric, because the test split is scored once."""
        self.epochs = 0
        """The number of steps that this attempt reported first."""
        self.length: int | None = None
        """The number of steps of the whole run, if known; pruning at the last one saves nothing."""
        self.mirror: Mirror | None = None
        self.track: base.Track | base.Silent = base.Silent()

    def __call__(self, step: int, /, **metrics: float) -> None:
        with self._refusal_kept():
            self._report(step, metrics)

    @contextmanager
    def _refusal_kept(self) -> Iterator[None]:
        """Keep an exception for which the objective is not at fault, but which it may catch."""
        self.refusal = None
        try:
            yield
        except StorageError as error:
            self.refusal = error
            raise

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        step, told = measured(step, metrics)
        if self.metric not in metrics and not self.scored_once:
            raise TunerError(
                f"report({step}, …) has no {self.metric!r} (study.metric), "
                f"got {', '.join(metrics) or 'nothing'}",
                hint="report it, or change study.metric",
            )
        self.metrics = told
        self.fence()
        if step not in self.values:
            self._remember(step)
            self.track.log(step, finite(self.metrics))
        if self.mirror is not None:
            self.mirror.push()
        if step in self.values:
            if step == self.unjudged:
                self._check_pruning(step)
        elif self.metric in metrics:
            self._store(step)
        if reason := self.context.preempted():
            raise Preempted(reason)

    def poll(self) -> None:
        """Raise ``Preempted`` between reports if this process was asked to stop.

        An objective with long epochs may call it wherever it can be resumed.
        """
        with self._refusal_kept():
            self.fence()
        if reason := self.context.preempted():
            raise Preempted(reason)

    def note(self, **facts: float | str) -> None:
        """Store a fact about the whole run, such as its peak memory, as a column of the dashboard.

        The last value of each fact is stored, however the trial ends. A value that violates a
        constraint ends the trial at once; if it is noted before the training, no epoch is lost.
        Passwords in URLs are masked.

        The fact ``validation_examples`` is the number of examples over which the metric, a value
        from 0 to 1, is a mean. If it is noted before the first report, the pruner uses it to
        estimate the standard error of the metric.
        """
        for name, value in facts.items():
            told = plain(value)
            is_text, is_number = isinstance(told, str), isinstance(told, int)
            self.facts[name] = masked(told) if is_text else told if is_number else float(told)
        if (count := facts.get(VALIDATION_EXAMPLES)) is not None:
            self._keep_examples(plain(count))
        if reason := self.aims.broken(self._noted):
            raise Pruned(reason, Kind.CONSTRAINT)

    def _keep_examples(self, count: object) -> None:
        """Store the number of validation examples for the pruner, if it is an integer from 1."""
        if type(count) is int and 1 <= count < 2**31 and count != self.examples:
            storage, trial_id, key = self.trial.storage, self.trial._trial_id, score_error.EXAMPLES
            with self._refusal_kept():
                self._write(lambda: storage.set_trial_system_attr(trial_id, key, count))
            self.examples = count

    @property
    def measured(self) -> dict[str, float]:
        """Return all known numbers of the run: the latest metrics and the notes."""
        return self.metrics | self._noted

    @property
    def _noted(self) -> dict[str, float]:
        return {k: float(v) for k, v in self.facts.items() if not isinstance(v, str)}

    def fence(self) -> None:
        """Raise ``Fenced`` before saving if the trial has gone to another worker.

        A process that was suspended would otherwise overwrite its successor's state.
        """
        if self.context.lost():
            raise Fenced(f"worker {self.context.worker} was considered lost")

    def _store(self, step: int) -> None:
        bad = [f"{n} is {v}" for n, v in self.metrics.items() if not math.isfinite(v)]
        if bad:
            raise Pruned(f"diverged: {', '.join(bad)} at step {step}", Kind.DIVERGED)
        value, storage, trial_id = (
            self.metrics[self.metric],
            self.trial.storage,
            self.trial._trial_id,
        )
        # Optuna's ``report`` refuses several objectives (optuna/optuna#3450).
        self._write(lambda: storage.set_trial_intermediate_value(trial_id, step, value))
        self.values[step] = value
        self.epochs += 1
        self.context.reported(self.begun)
        self._check_pruning(step)
        if step == self.length:
            return
        budget = self.context.budget
        counted = budget.epochs is not None and budget.length is None
        if counted and not self.context.study.may_go_on(budget):
            raise Preempted("budget.epochs leaves no other epoch")

    def _write(self, write: Callable[[], None]) -> None:
        """Write to the trial; raise ``Fenced`` if it no longer belongs to this worker."""
        try:
            self.context.study.patience(write)
        except UpdateFinishedTrialError as error:
            raise Fenced("the trial was assigned to another worker") from error
        except KeyError as error:
            self.context.study.verify()
            raise Fenced("the trial is no longer in the database") from error

    def _check_pruning(self, step: int) -> None:
        self.unjudged = None
        if step == self.length or self.repeats:
            return
        if self.context.study.patience(self.pruner.should_prune):
            raise Pruned

    def _remember(self, step: int) -> None:
        """Store all metrics beside the checkpoint; a full disk only causes a warning."""
        if self.run_dir is not None:
            try:
                metrics_log.append(self.run_dir, step, finite(self.metrics))
            except OSError as error:
                log.warning("trial %d: cannot store its metrics: %s", self.number, error)


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the numbers that are neither NaN nor infinite."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
