"""What becomes of the epochs of a run: a checkpoint on the disk, then a report.

Neither holds the device up.  The copy of the state is written by a thread; an epoch's scores are
read, and reported, while the first steps of the next epoch run.  The order is kept: an epoch is
reported once its checkpoint, where one is due, would survive a power cut (or the disk is full, and
the next epoch tries again), and no later checkpoint is begun before.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from tuner.errors import Diverged, Preempted
from tuner.train import checkpoint, costs, hardware, mistakes, snapshot
from tuner.train.checkpoint import Recipe
from tuner.train.data import Split
from tuner.train.export import write_confusion
from tuner.train.learner import Learner
from tuner.train.scores import ErrorTally, Tally
from tuner.train.snapshot import Snapshot

logger = logging.getLogger("tuner")

# A report waits for at most so many steps of the next epoch: what they cost is lost on a trial
# that is pruned, and a GPU has them queued within milliseconds.
SHADOW = 32
# At a preemption the steps since the last checkpoint are saved when they took so many seconds.
WORTH_SAVING = 1.0


class Evaluated:
    """An epoch's scores and losses on their way from the device, by ``stream`` if it is a GPU."""

    def __init__(
        self, epoch: int, tally: Tally | ErrorTally | None, train_loss: Tensor,
        stream: torch.cuda.Stream | None = None,
    ) -> None:  # fmt: skip
        self.epoch, self.tally, self.train_loss, self.stream = epoch, tally, train_loss, stream
        self.steps = 0
        self.event: torch.cuda.Event | None = None
        if stream is not None:
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record(torch.cuda.current_stream(train_loss.device))

    def ready(self) -> bool:
        return self.event is None or bool(self.event.query())  # type: ignore[no-untyped-call]

    def read(self) -> tuple[dict[str, float], list[list[int]] | None]:
        """The metrics and the confusion matrix; on a GPU beside the steps queued meanwhile."""
        if self.stream is None or self.event is None:
            return self._read()
        self.stream.wait_event(self.event)
        with torch.cuda.stream(self.stream):
            return self._read()

    def _read(self) -> tuple[dict[str, float], list[list[int]] | None]:
        if self.tally is None:
            return {"train_loss": float(self.train_loss)}, None
        scores, (mean,) = self.tally.read(self.train_loss)
        return scores.metrics() | {"train_loss": mean}, scores.confusion


class Progress:
    """Saves and reports the epochs that ``learner`` makes; ``metrics`` are the last reported."""

    def __init__(
        self, learner: Learner, run_dir: Path, recipe: Recipe, report: Callable[..., None]
    ) -> None:
        self.learner, self.run_dir, self.recipe, self.report = learner, run_dir, recipe, report
        self.poll: Callable[[], None] | None = getattr(report, "poll", None)
        self.fence: Callable[[], None] | None = getattr(report, "fence", None)
        self.every = learner.settings.checkpoint_every
        self.fingerprint = checkpoint.fingerprint(learner.device, learner.settings.precision)
        self.writer = checkpoint.Writer(run_dir / "checkpoint.pt", _check_saved)
        self.saved_at = time.monotonic()
        self.held = 0.0
        """Seconds that the training stood still for the last checkpoint."""
        self.pending: Evaluated | None = None
        self.stream: torch.cuda.Stream | None = None
        """For reading scores: one a run, for torch has but 32, and others are in use."""
        if learner.device.type == "cuda":
            self.stream = torch.cuda.Stream(learner.device)  # type: ignore[no-untyped-call]
        self.metrics: dict[str, float] = {}
        self.confusion: list[list[int]] | None = None

    def resume(self) -> None:
        """Puts the learner where the checkpoint of the run directory is, if there is one.

        The scores of an epoch are not in it: they are found again, and reported again, for the
        process may have died between the checkpoint and the report.
        """
        state = checkpoint.load(self.writer.path, self.recipe, self.fingerprint)
        if state is not None:
            self.learner.load_state_dict(state["learner"])
            self.writer.place = self.learner.epoch, self.learner.done

    def step_made(self) -> None:
        """Between two steps: reports and saves what is ready or due.

        Raises: what the report raises where this process was asked to leave.  Runs that others
        take part in stop only at the end of an epoch, and are not saved within one: the other
        ranks' generators are not at hand.
        """
        alone = self.learner.settings.fused == 1 and self.learner.settings.devices == 1
        if alone and self.poll is not None:
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
        """Between an epoch's last step and its evaluation, which the writing goes beside."""
        self.settle()
        epoch, last, saved = self.learner.epoch, self.learner.settings.epochs, self.writer.place[0]
        due = epoch - saved >= self.every.epochs and self._affordable()
        if due or epoch in (saved, last):  # one within this epoch gives way to its end
            self.save()

    def _affordable(self) -> bool:
        """Whether a checkpoint as dear as the last would keep to its share of the time since then.

        So a crash costs epochs that are worth fifty checkpoints, or ``every.seconds``, at most.
        """
        if self.every.share >= 1:  # whatever it costs
            return True
        dear = (self.held + self.writer.seconds) / self.every.share
        return time.monotonic() - self.saved_at >= min(dear, self.every.seconds)

    def evaluated(self, tally: Tally | ErrorTally | None, train_loss: Tensor) -> None:
        """Leaves the epoch to be reported; without a tally it is only looked at for NaN.

        Where others wait for this run it is reported at once.
        """
        self.pending = Evaluated(self.learner.epoch, tally, train_loss, self.stream)
        if self.learner.settings.fused > 1 or self.learner.settings.devices > 1:
            self.settle()

    def settle(self) -> None:
        """Reports the pending epoch, once it is evaluated and its checkpoint is on the disk.

        Raises: Diverged, what the report raises, and what went wrong with the checkpoint.
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
        self.report(pending.epoch, **metrics)

    def save(self) -> None:
        """Begins a checkpoint of the learner as it is, unless the last one is of just that.

        Raises: what the report raises where the trial has gone to another worker.
        """
        place = self.learner.epoch, self.learner.done
        self.saved_at = time.monotonic()
        if place == self.writer.place:
            return
        if self.fence is not None:
            self.fence()
        state = {"recipe": self.recipe, "fingerprint": self.fingerprint}
        began = time.perf_counter()
        self.writer.submit(state | {"learner": self.learner.state_dict()}, place)
        self.held = time.perf_counter() - began

    def preempted(self) -> None:
        """Saves what was done since the last checkpoint, where that is worth it."""
        if time.monotonic() - self.saved_at > WORTH_SAVING:
            self.save()
            self.writer.wait()

    def completed(self, scored: Split) -> None:
        """Shows what the network gets wrong in the end; not where that are the test images."""
        if self.learner.settings.protocol == "search" and not self.learner.data.regression:
            try:
                mistakes.write(self.run_dir, self.learner, scored)
            except Exception as error:  # a picture is not worth a trial
                logger.warning("no picture of the mistakes in %s: %s", self.run_dir, error)

    def close(self) -> None:
        """Lets the writer end, tells what the run took, and draws what was found last.

        What goes wrong here is but logged: the run is over, or something else went wrong before.
        """
        try:
            with suppress(Diverged):  # nothing new: the run has ended with it
                self.writer.wait()
            if self.confusion is not None:
                write_confusion(self.run_dir, self.confusion, self.learner.data)
            self._tell()  # last: it raises where a constraint does not hold
        except Exception as error:
            logger.warning("the end of the run in %s: %s", self.run_dir, error)

    def note_costs(self, names: Sequence[str]) -> None:
        """Notes what the network costs to use, as far as it is asked for and can be measured.

        Raises: what the report raises where a constraint does not hold.
        """
        note: Callable[..., None] | None = getattr(self.report, "note", None)
        if note is not None and names:
            learner = self.learner
            batch = learner.settings.eval_batch_size
            found = costs.measure(
                learner.network, learner.data.in_shape, learner.device, names, batch
            )
            hardware.watch_memory(learner.device)  # the batch of a measurement is no training's
            note(**found)

    def _tell(self) -> None:
        """What is true of the run as a whole, for a report that wants to know."""
        note: Callable[..., None] | None = getattr(self.report, "note", None)
        if note is not None:
            note(
                device=hardware.name(self.learner.device),
                parameters=sum(p.numel() for p in self.learner.network.parameters()),
                **hardware.memory_taken(self.learner.device),
            )


def _check_saved(taken: Snapshot) -> None:
    """Raises: Diverged, in place of writing a checkpoint whose losses are not finite."""
    learner = taken.tree["learner"]
    total = snapshot.restore(learner["total"], taken.pieces)
    if not torch.isfinite(total):
        raise Diverged(f"diverged in epoch {learner['epoch']}: train_loss is {float(total)}")
