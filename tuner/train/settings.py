"""How long, in which portions, by which means and how exactly to train (``conf/trainer``)."""

import math
from dataclasses import dataclass
from typing import Literal

from tuner.errors import ConfigError
from tuner.train.graph import Rung
from tuner.train.hardware import Precision


@dataclass(frozen=True)
class Every:
    """A checkpoint is due after so many epochs, or so many seconds, whichever comes first.

    Those by ``epochs`` come at the end of an epoch; those by ``seconds`` after any step.
    """

    epochs: int
    seconds: float

    def __post_init__(self) -> None:
        if self.epochs < 1 or not self.seconds > 0 or math.isinf(self.seconds):
            raise ConfigError(
                f"trainer.checkpoint_every: epochs={self.epochs}, seconds={self.seconds}"
                " (hint: at least 1 epoch, and seconds above 0)"
            )


@dataclass(frozen=True)
class Settings:
    """What ``conf/trainer`` says; see there."""

    epochs: int
    batch_size: int
    eval_batch_size: int
    threads: int
    precision: Precision
    deterministic: bool
    protocol: Literal["search", "final"]
    graph: Rung
    checkpoint_every: Every
    fused: int
    fused_wait: float
    devices: int
    accumulate: int
    clip: float
    ema: float
    tta: bool

    def __post_init__(self) -> None:
        counts = "epochs batch_size eval_batch_size threads fused devices accumulate"
        for name in counts.split():
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name}={getattr(self, name)}: it must be at least 1")
        if self.clip < 0:
            raise ConfigError(f"trainer.clip={self.clip}: it must be 0 (no limit) or above")
        if not 0 <= self.ema < 1:
            raise ConfigError(
                f"trainer.ema={self.ema}: a decay from 0 (no average) to below 1, such as 0.999"
            )
