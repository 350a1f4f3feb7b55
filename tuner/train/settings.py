"""The settings of a training (``conf/trainer``): epochs, batches, checkpoints, precision."""

from dataclasses import dataclass
from typing import Literal

from tuner.config.bounds import BelowOne, Count, Factor, NonNegative, Positive
from tuner.config.types import require
from tuner.errors import Mistake
from tuner.train.device.cuda_graph import Rung
from tuner.train.device.hardware import Precision


@dataclass(frozen=True)
class Every:
    """When a checkpoint is due: after a number of epochs or of seconds, whichever comes first.

    Checkpoints by ``epochs`` are written at the end of an epoch, those by ``seconds`` after any
    step. The former are postponed if they would take more than ``share`` of the time (1: no limit),
    but by at most ``seconds``.
    """

    epochs: Count
    seconds: Positive
    share: Factor = 1.0

    def __post_init__(self) -> None:
        require(Every, vars(self), "trainer.checkpoint_every")


@dataclass(frozen=True)
class Settings:
    """The settings of ``conf/trainer``, which explains them."""

    epochs: Count
    batch_size: Count
    eval_batch_size: Count
    threads: Count
    precision: Precision
    deterministic: bool
    protocol: Literal["search", "final"]
    graph: Rung
    checkpoint_every: Every
    fused: Count
    fused_wait: NonNegative
    devices: Count
    accumulate: Count
    clip: NonNegative
    ema: BelowOne
    tta: bool
    patience: Count | None = None
    initial: str | None = None

    def __post_init__(self) -> None:
        require(Settings, vars(self), "trainer")

    def mistakes(self) -> list[Mistake]:
        """Return an error for each combination of settings that is not supported."""
        found = []
        if self.patience and self.fused * self.devices > 1:
            told = f"{self.patience}, but trials that are trained together cannot stop early"
            hint = "null, or trainer.fused=1 and trainer.devices=1"
            found.append(Mistake("trainer.patience", told, hint))
        if self.batch_size % self.devices:
            told = f"{self.batch_size} cannot be divided by trainer.devices={self.devices}"
            found.append(Mistake("trainer.batch_size", told, "use a multiple"))
        if self.devices > 1 and self.fused > 1:
            told = f"{self.devices} and trainer.fused={self.fused}"
            found.append(Mistake("trainer.devices", told, "set one of them to 1"))
        return found
