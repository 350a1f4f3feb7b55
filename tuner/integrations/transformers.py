"""Report from the Trainer of Hugging Face's transformers."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tuner.errors import TunerError
from tuner.objective import fence, report, run_dir

__all__ = ["Report", "last_checkpoint"]


class Report(TrainerCallback):  # type: ignore[misc]
    """Callback that reports each evaluation of a training to the trial.

    A step is the epoch, from 1; with ``eval_strategy="steps"`` it is the number of the evaluation.
    It is reported once its checkpoint is written, if it has one. A resumed training reports the
    evaluation of its checkpoint again, because a process may die in between. Outside of a search
    the callback does nothing. The trainer must run in the process of the trial.

    Args:
        monitor: The only metric to report, such as ``eval_loss``; None for all.

    Raises:
        tuner.errors.Stop: In the hooks: the trial is pruned, or its worker was asked to leave.
        tuner.errors.TunerError: In the hooks: the evaluation did not give the metric.

    Example:
        >>> from transformers import Trainer
        >>> from tuner.integrations.transformers import Report
        >>> trainer = Trainer(model, arguments, callbacks=[Report("eval_loss")])  # doctest: +SKIP
    """

    def __init__(self, monitor: str | None = None) -> None:
        self.monitor = monitor
        self.training = False
        self.evaluated: dict[str, float] = {}
        """Metrics that are not reported yet; several data sets are evaluated one after another."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the evaluation of the checkpoint from which the training goes on."""
        self.training = True
        for entry in state.log_history:
            if entry.get("step") == state.global_step:
                self._evaluated({k: v for k, v in entry.items() if k.startswith("eval_")})
        self._report(args, state)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **_: Any
    ) -> None:
        if self.training:
            fence()
            self._evaluated(metrics)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._report(args, state)

    on_step_begin = on_epoch_begin = on_epoch_end = on_save

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._report(args, state)
        self.training = False

    def _evaluated(self, metrics: dict[str, Any]) -> None:
        self.evaluated |= {k: v for k, v in metrics.items() if isinstance(v, int | float)}

    def _report(self, args: Any, state: Any) -> None:
        if not self.evaluated or run_dir() is None:
            return
        found, self.evaluated = self.evaluated, {}
        if self.monitor is not None:
            if self.monitor not in found:
                raise TunerError(
                    f"Report(monitor={self.monitor!r}): the metrics are {', '.join(found)}",
                    hint="name one of them; those of compute_metrics begin with eval_",
                )
            found = {self.monitor: found[self.monitor]}
        counted = args.eval_strategy == "steps"
        step = state.global_step // state.eval_steps if counted else round(state.epoch)
        report(step, **found)


def last_checkpoint(directory: str | Path) -> str | None:
    """Return the newest complete checkpoint of a trainer, to resume from.

    Unlike ``transformers.trainer_utils.get_last_checkpoint`` it passes over a checkpoint that a
    killed process was writing, and a directory that does not exist.

    Args:
        directory: The ``output_dir`` of the trainer, such as ``run_dir``.

    Returns:
        The path for ``trainer.train(resume_from_checkpoint=…)``; None if there is none.

    Example:
        >>> last_checkpoint("a run that has not begun") is None
        True
    """
    found = Path(directory).glob("checkpoint-*[0-9]")
    steps = sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in steps if _is_complete(path)), None)


def _is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint has the trainer's state, which is the last file written."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True
