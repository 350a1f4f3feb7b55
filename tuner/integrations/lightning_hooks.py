"""The hooks of ``Report`` for Lightning, whichever of its two packages calls them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import distributed

from tuner.errors import TunerError
from tuner.objective import fence, report, run_dir

CHECKPOINT = "last.ckpt"
LAUNCHED = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that Lightning leaves in the process that has started the other ranks."""


class Hooks:
    """Save, report and resume in a trial; do nothing outside of one.

    Only the process of rank 0 has the trial. What it raises is broadcast, so that no rank waits for
    another in the next collective operation.
    """

    ranks_left: ClassVar[bool] = False
    """Whether an earlier trial of this process has started other ranks."""

    def __init__(self, monitor: str | None = None, *, checkpoint: bool = True) -> None:
        self.monitor = monitor
        self.checkpoint = checkpoint
        self.run_dir: Path | None = None
        self.validated = False
        self.last: dict[str, Any] = {}
        """The step and the metrics of the last report, which a checkpoint contains."""
        self.process = None if run_dir() is None else os.getpid()
        if self.process is not None and Hooks.ranks_left:
            _forget_ranks()

    def state_dict(self) -> dict[str, Any]:
        return self.last

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last = state_dict

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on from the checkpoint of an earlier attempt, and report its step again."""
        if self.process not in (None, os.getpid()):
            raise TunerError(
                "a trial can report from the process that runs it only, and this strategy has "
                "moved the training to another one",
                hint="strategy=ddp",
            )
        self.run_dir = trainer.strategy.broadcast(run_dir())
        if self.run_dir is None:
            return
        Hooks.ranks_left = trainer.world_size > 1
        path = self.run_dir / CHECKPOINT
        if self.checkpoint and path.exists():
            # As trainer.fit(ckpt_path=...) does, which has been called already.
            trainer._checkpoint_connector._restore_modules_and_callbacks(path)
        if self.last:
            self._report(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self.validated and trainer.check_val_every_n_epoch is None:  # counted in batches
            self._validated(trainer, self.last.get("step", 0) + 1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # Not at the end of the validation: Lightning repeats the end of the epoch when it resumes
        # from there, without the metrics that EarlyStopping then requires.
        if self.validated:
            self._validated(trainer, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Provide the metrics where the checkpoint was of the last epoch: nothing was trained."""
        for name, value in self.last.get("metrics", {}).items():
            trainer.callback_metrics.setdefault(name, torch.tensor(value))

    def _validated(self, trainer: Any, step: int) -> None:
        """Save, then report."""
        self.validated = False
        logged = trainer.callback_metrics  # by all ranks, because it may reduce over them
        if self.run_dir is None:
            return
        self.last = {"step": step, "metrics": {k: float(v) for k, v in logged.items()}}
        _together(trainer, fence)
        if self.checkpoint:
            trainer.save_checkpoint(self.run_dir / CHECKPOINT, weights_only=False)
        self._report(trainer)

    def _report(self, trainer: Any) -> None:
        _together(trainer, lambda: report(self.last["step"], **self._monitored()))

    def _monitored(self) -> dict[str, float]:
        found: dict[str, float] = self.last["metrics"]
        if self.monitor is None:
            return found
        if self.monitor not in found:
            raise TunerError(
                f"Report(monitor={self.monitor!r}): the metrics are {', '.join(found) or 'none'}",
                hint="name one that the validation step logs",
            )
        return {self.monitor: found[self.monitor]}


def _together(trainer: Any, call: Callable[[], None]) -> None:
    """Call it in rank 0; if it raises there, every rank leaves."""
    error: BaseException | None = None
    if trainer.is_global_zero:
        try:
            call()
        except BaseException as raised:
            error = raised
    if trainer.strategy.broadcast(error is not None):
        raise error or SystemExit(0)  # with another code, Lightning would kill rank 0


def _forget_ranks() -> None:
    """Let the next trainer start its own ranks: those of an earlier trial have ended."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for name in LAUNCHED:
        os.environ.pop(name, None)
    Hooks.ranks_left = False
