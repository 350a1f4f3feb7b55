"""Report from Lightning under its older name (``import pytorch_lightning``)."""

from pytorch_lightning.callbacks import Checkpoint

from tuner.integrations.lightning_hooks import Hooks

__all__ = ["Report"]


class Report(Hooks, Checkpoint):  # type: ignore[misc]
    """``tuner.integrations.lightning.Report`` for a trainer of ``pytorch_lightning``."""
