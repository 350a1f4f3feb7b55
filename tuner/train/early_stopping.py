"""Stop a training whose validation score has not improved for some epochs."""

from collections.abc import Sequence

from tuner.train.metrics import LOWER


class EarlyStopping:
    """Tracks the best epoch of a training, and whether to stop; never if ``patience`` is None.

    ``best`` and ``epoch`` are stored with each checkpoint, so that a resumed training stops at the
    same epoch.
    """

    def __init__(self, patience: int | None, metric: str) -> None:
        self.patience, self.metric = patience, metric
        self.sign = -1.0 if metric in LOWER else 1.0
        self.best, self.epoch = 0.0, 0

    def scored(self, epoch: int, value: float) -> None:
        """Record the validation score of an epoch; epochs count from 1."""
        if self.epoch in (0, epoch) or self.sign * value > self.sign * self.best:
            self.best, self.epoch = value, epoch

    def over(self, epoch: int) -> bool:
        """Return whether the last ``patience`` epochs have not improved the score."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def __str__(self) -> str:
        return f"no better {self.metric} than {self.best:.6g} in epoch {self.epoch}"

    def state(self) -> list[float]:
        return [self.best, self.epoch]

    def restore(self, state: Sequence[float]) -> None:
        self.best, self.epoch = state[0], int(state[1])
