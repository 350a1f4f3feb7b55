"""What an evaluation finds: counted on the device, read once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tuner.errors import ConfigError

METRICS: dict[str, Callable[["Scores"], float]] = {
    "accuracy": lambda scores: scores.accuracy,
    "balanced_accuracy": lambda scores: scores.balanced_accuracy,
    "macro_f1": lambda scores: scores.macro_f1,
    "loss": lambda scores: scores.loss,
}


@dataclass(frozen=True)
class Scores:
    """``confusion[truth][prediction]`` counts and the mean loss of one split."""

    confusion: list[list[int]]
    loss: float

    @property
    def accuracy(self) -> float:
        return sum(self._hits) / sum(self._truths)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that occur."""
        recalls = [hit / n for hit, n in zip(self._hits, self._truths, strict=True) if n]
        return sum(recalls) / len(recalls)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that occur or are predicted of 2·hits / (truths + predictions)."""
        predictions: list[int] = [sum(column) for column in zip(*self.confusion, strict=True)]
        sizes = [n + m for n, m in zip(self._truths, predictions, strict=True)]
        parts: list[float] = [
            2 * hit / size for hit, size in zip(self._hits, sizes, strict=True) if size
        ]
        return sum(parts) / len(parts)

    def metrics(self) -> dict[str, float]:
        return {name: metric(self) for name, metric in METRICS.items()}

    @property
    def _hits(self) -> list[int]:
        return [row[label] for label, row in enumerate(self.confusion)]

    @property
    def _truths(self) -> list[int]:
        return [sum(row) for row in self.confusion]


class Tally:
    """Sums on the device; nothing is read back until ``read``.

    Counts are kept as float32, exact up to 16.7 million images in a cell, so that they and the
    loss come back in one transfer.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.cells = torch.zeros(classes * classes, device=device)
        self.loss = torch.zeros((), device=device)
        self.images = 0

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """A batch's logits [b, classes], labels int64 [b] and mean loss."""
        cell = labels * self.classes + logits.argmax(1)
        self.cells.index_add_(0, cell, torch.ones_like(cell, dtype=self.cells.dtype))
        self.loss += loss * len(labels)
        self.images += len(labels)

    def read(self, *others: Tensor) -> tuple[Scores, list[float]]:
        """The scores, and the values of further scalars that lie on the device."""
        scalars = torch.stack([self.loss, *(other.to(self.loss) for other in others)])
        values: list[float] = torch.cat([self.cells, scalars]).tolist()
        counts, (loss, *rest) = values[: len(self.cells)], values[len(self.cells) :]
        rows = range(0, len(counts), self.classes)
        confusion = [[int(n) for n in counts[row : row + self.classes]] for row in rows]
        return Scores(confusion, loss / self.images), rest


def check_metric(name: str) -> None:
    """Raises: ConfigError for a metric that this trainer does not report."""
    if name not in METRICS:
        raise ConfigError(
            f"study.metric={name} is not reported by this trainer (hint: {', '.join(METRICS)})"
        )
