"""Save and report the epochs of a run: first a checkpoint on the disk, then a report.

Neither blocks the device. A thread writes a copy of the state; an epoch's scores are read and
reported while the next epoch begins. An epoch is reported once its checkpoint, if one is due, would
survive a power failure (or the disk is full). No later checkpoint is started before that.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from tuner.errors import Diverged, Preempted
from tuner.train import misclassified
from tuner.train.checkpoint import checkpoint, snapshot
from tuner.train.checkpoint.checkpoint import Recipe
from tuner.train.checkpoint.snapshot import Snapshot
from tuner.train.data.tensors import Split
from tuner.train.device import hardware
from tuner.train.early_stopping import EarlyStopping
from tuner.train.export.saved_model import write_confusion
from tuner.train.learner import Learner
from tuner.train.metrics import ErrorTally, Evaluated, Tally
from tuner.train.model import cost

logger = logging.getLogger("tuner")

# A report is delayed by at most this many steps of the next epoch: if the trial is pruned, these
# steps are wasted; a GPU has them queued within milliseconds.
SHADOW = 32
# At a preemption, the steps since the last checkpoint are saved if they took this many seconds.
WORTH_SAVING = 1.0


class Progress:
    """Saves and reports the epochs of ``learner``; ``metrics`` are the last reported ones."""

    def __init__(
        self, learner: Learner, run_dir: Path, recipe: Recipe, report: Callable[..., None]
    ) -> None:
        self.learner, self.run_dir, self.recipe, self.report = learner, run_dir, recipe, report
        self.poll, self.fence, self.note = (
            getattr(report, name, _ignored) for name in ("poll", "fence", "note")
        )
        self.every = learner.settings.checkpoint_every
        self.fingerprint = checkpoint.fingerprint(learner.device, learner.settings.precision)
        self.writer = checkpoint.Writer(run_dir / "checkpoint.pt", _check_saved)
        self.saved_at = time.monotonic()
        self.held = 0.0  # seconds for which training waited for the last checkpoint
        self.pending: Evaluated | None = None
        self.stream = hardware.stream(learner.device)
        """The stream for reading scores; one per run, because torch has only 32 streams."""
        self.stopping = EarlyStopping(learner.settings.patience, learner.metric)
        self.metrics: dict[str, float] = {}
        self.confusion: list[list[int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release what the run holds; first save a preempted run's progress, if worthwhile."""
        try:
            preempted = kind is not None and issubclass(kind, Preempted)
            if preempted and time.monotonic() - self.saved_at > WORTH_SAVING:
                self.save()
                self.writer.wait()
        finally:
            self.learner.close()
            hardware.release_memory(self.learner.device)
            self.close()  # last, for it may raise

    def resume(self) -> None:
        """Restore the learner from the checkpoint of the run directory, if there is one.

        The scores of the epoch are not stored: they are computed and reported again, because the
        process may have died between the checkpoint and the report.
        """
        state = checkpoint.load(self.writer.path, self.recipe, self.fingerprint)
        if state is not None:
            self.learner.load_state_dict(state["learner"])
            self.writer.place = self.learner.epoch, self.learner.done
            self.stopping.restore(state.get("stopping", self.stopping.state()))

    def step_made(self) -> None:
        """Report and save, between two steps, what is ready or due.

        A run with several ranks stops and saves only at the end of an epoch, because the generators
        of the other ranks are not available here.

        Raises:
            Stop: This process was asked to stop; raised by the report.
        """
        if self.learner.settings.fused == 1 and self.learner.settings.devices == 1:
            try:
                self.poll()
            except Preempted:
                self.settle()  # what is finished is stored first
                raise
        if self.pending is not None:
            self.pending.steps += 1
            if self.pending.steps >= SHADOW or (self.pending.ready() and self.writer.ready()):
                self.settle()
        due = time.monotonic() - self.saved_at >= self.every.seconds
        if due and self.learner.settings.devices == 1:
            self.settle()
            self.save()

    def epoch_trained(self) -> None:
        """Start a checkpoint after the last step; the evaluation runs concurrently."""
        self.settle()
        epoch, last, saved = self.learner.epoch, self.learner.settings.epochs, self.writer.place[0]
        due = epoch - saved >= self.every.epochs and self._affordable()
        if due or epoch in (saved, last):  # replaces one within this epoch
            self.save()

    def _affordable(self) -> bool:
        """Return whether another checkpoint would not exceed its share of the time.

        With the default share, a crash therefore costs epochs of the duration of at most fifty
        checkpoints, or ``every.seconds``.
        """
        dear = (self.held + self.writer.seconds) / self.every.share
        passed = time.monotonic() - self.saved_at
        return self.every.share >= 1 or passed >= min(dear, self.every.seconds)

    def evaluated(self, tally: Tally | ErrorTally | None, train_loss: Tensor) -> None:
        """Queue the epoch's report; without a tally the loss is only checked for NaN.

        If other ranks wait for this run, or it may stop early, the epoch is reported at once.
        """
        self.pending = Evaluated(self.learner.epoch, tally, train_loss, self.stream)
        settings = self.learner.settings
        if settings.fused > 1 or settings.devices > 1 or settings.patience is not None:
            self.settle()

    def stopped(self) -> bool:
        """Return whether the training stops early, and log it; only validation scores decide."""
        epoch, settings = self.learner.epoch, self.learner.settings
        last = settings.protocol != "search" or epoch == settings.epochs
        if last or not self.stopping.over(epoch):
            return False
        told = f"after epoch {epoch} of {settings.epochs}: {self.stopping}"
        logger.info("stopped %s", told)
        self.note(stopped_early=told)
        self.save()  # a resumed run must not train further
        return True

    def settle(self) -> None:
        """Report the pending epoch, once it is evaluated and its checkpoint is on the disk.

        Raises:
            Diverged: The loss is not finite.
            Exception: Raised by the report, or the error of the checkpoint.
        """
        if self.pending is None:
            return
        pending, self.pending = self.pending, None
        metrics, self.confusion = pending.read()
        bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise Diverged(f"diverged in epoch {pending.epoch}: {', '.join(bad)}")
        began = time.perf_counter()
        self.writer.wait()
        self.held += time.perf_counter() - began
        if pending.tally is None:
            return
        self.metrics = metrics
        if self.learner.settings.patience is not None:
            self.stopping.scored(pending.epoch, metrics[self.learner.metric])
        self.report(pending.epoch, **metrics)

    def save(self) -> None:
        """Start a checkpoint of the learner, unless the last one has the same state.

        Raises:
            Stop: The trial has gone to another worker; raised by the report.
        """
        place = self.learner.epoch, self.learner.done
        self.saved_at = time.monotonic()
        if place == self.writer.place:
            return
        self.fence()
        began = time.perf_counter()
        state = {
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "stopping": self.stopping.state(),
            "learner": self.learner.state_dict(),
        }
        self.writer.submit(state, place)
        self.held = time.perf_counter() - began

    def completed(self, scored: Split) -> None:
        """Remove the previous checkpoint, and draw misclassified images, but never test images."""
        self.writer.remove_previous()
        if self.learner.settings.protocol == "search" and not self.learner.data.regression:
            try:
                misclassified.write(self.run_dir, self.learner, scored)
            except Exception as error:  # a missing picture must not fail the trial
                told = "cannot write the image of misclassified examples in %s: %s"
                logger.warning(told, self.run_dir, error)

    def close(self) -> None:
        """Wait for the writer, note facts about the run, and draw the last results.

        Errors are only logged, because the run has ended or another error came first.
        """
        try:
            with suppress(Diverged):  # the run has ended with this error already
                self.writer.wait()
            if self.confusion is not None:
                write_confusion(self.run_dir, self.confusion, self.learner.data)
            self.note(  # last: it raises if a constraint is violated
                device=hardware.name(self.learner.device),
                parameters=sum(p.numel() for p in self.learner.network.parameters()),
                **hardware.memory_taken(self.learner.device),
            )
        except Exception as error:
            logger.warning("the end of the run in %s: %s", self.run_dir, error)

    def note_costs(self, names: Sequence[str]) -> None:
        """Note the requested costs of the network, as far as they can be measured."""
        if self.note is not _ignored and names:
            batch, device = self.learner.settings.eval_batch_size, self.learner.device
            shape = self.learner.data.in_shape
            found = cost.measure(self.learner.network, shape, device, names, batch)
            hardware.watch_memory(device)  # exclude the measurement from the training's peak
            self.note(**found)

    def note_examples(self, count: int | None) -> None:
        """Note the number of validation images behind the metric, if it is known."""
        if count is not None:
            self.note(validation_examples=count)


def _ignored(**_: object) -> None:
    """Stand in for a method that a report does not have."""


def _check_saved(taken: Snapshot) -> None:
    """Raise ``Diverged`` instead of writing a checkpoint whose losses are not finite."""
    learner = taken.tree["learner"]
    total = snapshot.restore(learner["total"], taken.pieces)
    if not torch.isfinite(total):
        raise Diverged(f"diverged in epoch {learner['epoch']}: train_loss is {float(total)}")
