"""Report from Lightning (``import lightning``)."""

from lightning.pytorch.callbacks import Checkpoint

from tuner.integrations.lightning_hooks import Hooks

__all__ = ["Report"]


class Report(Hooks, Checkpoint):  # type: ignore[misc]
    """Callback that reports each validation to the trial, and resumes an interrupted one.

    At the end of each epoch with a validation it saves ``last.ckpt`` in the trial's directory and
    reports all scalars that were logged; the step is the epoch, from 1. A resumed trial goes on
    from this file, whatever ``ckpt_path`` the trainer is given. With
    ``check_val_every_n_epoch=None`` every validation is a step. Outside of a search the callback
    does nothing. All ranks of ``strategy=ddp`` leave together.

    List it after other checkpoint callbacks, whose state its checkpoint contains.

    Args:
        monitor: The only metric to report, by the name under which it is logged; None for all.
        checkpoint: Whether to save and resume; without, an interrupted trial starts over unless
            the program resumes it.

    Raises:
        tuner.errors.Stop: In the hooks: the trial is pruned, or its worker was asked to leave.
        tuner.errors.TunerError: In the hooks: the metric was not logged, or ``ddp_spawn`` or
            ``ddp_fork`` has moved the training to another process.

    Example:
        >>> import lightning
        >>> from tuner.integrations.lightning import Report
        >>> trainer = lightning.Trainer(callbacks=[Report("val/acc")], logger=False)
    """
