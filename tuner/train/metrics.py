"""The results of an evaluation, accumulated on the device and read once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tuner.config.types import nearest
from tuner.errors import ConfigError

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "loss")
RANKED = "auroc"  # computed only if it is optimised: it sorts the scores of every class
ERRORS = ("mse", "mae", "loss")  # of regression


@dataclass(frozen=True)
class Scores:
    """``confusion[truth][prediction]`` counts and the mean loss of one split."""

    confusion: list[list[int]]
    loss: float
    auroc: float | None = None

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
        """Mean over classes that occur or are predicted of 2·hits / (truths + predictions)."""
        predictions: list[int] = [sum(column) for column in zip(*self.confusion, strict=True)]
        sizes = [n + m for n, m in zip(self._truths, predictions, strict=True)]
        parts: list[float] = [
            2 * hit / size for hit, size in zip(self._hits, sizes, strict=True) if size
        ]
        return sum(parts) / len(parts)

    def metrics(self) -> dict[str, float]:
        found = {name: getattr(self, name) for name in METRICS}
        return found if self.auroc is None else found | {RANKED: self.auroc}

    @property
    def _hits(self) -> list[int]:
        return [row[label] for label, row in enumerate(self.confusion)]

    @property
    def _truths(self) -> list[int]:
        return [sum(row) for row in self.confusion]


@dataclass(frozen=True)
class Errors:
    """Mean squared and absolute error and mean loss of one split with float targets."""

    mse: float
    mae: float
    loss: float
    confusion: None = None

    def metrics(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ERRORS}


class Tally:
    """Sums on the device, which are read back only by ``read``.

    Counts are stored as float32, exact up to 16.7 million images per cell, so that they and the
    loss take a single transfer. With ``ranked`` the logits are kept too, for AUROC.
    """

    def __init__(self, classes: int, device: torch.device, *, ranked: bool = False) -> None:
        self.classes = classes
        self.cells = torch.zeros(classes * classes, device=device)
        self.loss = torch.zeros((), device=device)
        self.images = 0
        self.ranked = ranked
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Add a batch: logits [b, classes], labels int64 [b] and mean loss."""
        cell = labels * self.classes + logits.argmax(1)
        self.cells.index_add_(0, cell, torch.ones_like(cell, dtype=self.cells.dtype))
        self.loss += loss * len(labels)
        self.images += len(labels)
        if self.ranked:
            self.kept.append((logits, labels))

    def read(self, *others: Tensor) -> tuple[Scores, list[float]]:
        """Return the scores, and the values of further scalars that are on the device."""
        scalars = torch.stack([self.loss, *(other.to(self.loss) for other in others)])
        values: list[float] = torch.cat([self.cells, scalars]).tolist()
        counts, (loss, *rest) = values[: len(self.cells)], values[len(self.cells) :]
        rows = range(0, len(counts), self.classes)
        confusion = [[int(n) for n in counts[row : row + self.classes]] for row in rows]
        ranking = auroc(*map(torch.cat, zip(*self.kept, strict=True))) if self.ranked else None
        return Scores(confusion, loss / self.images, ranking), rest


class ErrorTally:
    """A ``Tally`` for outputs and float targets [b, k]."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        self.loss += loss * len(targets)
        self.kept.append((outputs, targets))

    def read(self, *others: Tensor) -> tuple[Errors, list[float]]:
        outputs, targets = map(torch.cat, zip(*self.kept, strict=True))
        errors = outputs - targets
        found = (errors.square().mean(), errors.abs().mean(), self.loss / len(targets))
        values = torch.stack([value.to(self.loss) for value in (*found, *others)]).tolist()
        return Errors(*values[:3]), values[3:]


class Evaluated:
    """An epoch's scores and losses, copied from a GPU asynchronously on ``stream``."""

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
        """Return the metrics and the confusion matrix; on a GPU, queued steps run meanwhile."""
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


def auroc(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over classes of the area under the ROC curve of one against the rest.

    A class that no image has, or all have, is omitted; without any other class the result is NaN.
    """
    counts = torch.bincount(labels, minlength=logits.shape[1])
    known = ((counts > 0) & (counts < len(labels))).nonzero().flatten().tolist()
    scores = logits.float().softmax(1)
    areas = [_area(scores[:, label], labels == label) for label in known]
    return float(torch.stack(areas).mean()) if areas else math.nan


def _area(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the probability that a positive scores above a negative; a tie counts half."""
    negatives, positives = scores[~positive].sort().values, scores[positive]
    below = torch.searchsorted(negatives, positives) + torch.searchsorted(
        negatives, positives, right=True
    )
    return below.double().mean() / (2 * len(negatives))


LOWER = {"loss", "train_loss", *ERRORS}
"""The metrics of which lower values are better."""


def reported(regression: bool) -> tuple[str, ...]:
    """Return the metrics that are reported after every epoch, whatever is optimised."""
    return ERRORS if regression else METRICS


def check_metric(name: str, *, regression: bool = False) -> None:
    """Check that this trainer reports a metric for such targets.

    Raises:
        ConfigError: It does not.
    """
    known = reported(regression) if regression else (*METRICS, RANKED)
    if name not in known:
        kind = "regression targets" if regression else "class labels"
        cure = ", or save integer targets for classification" if regression else ""
        raise ConfigError(
            f"{name} is not reported by this trainer for {kind}",
            key="study.metric",
            hint=f"{nearest(name, known)}{cure}",
        )


def examples(metric: str, counts: Sequence[float]) -> int | None:
    """Return the number of images that determines a metric's standard error.

    A mean over K classes, of nₖ images each, is as precise as one over K² / Σ 1 / nₖ images.

    Args:
        metric: The name of the metric.
        counts: The number of scored images of each class.

    Returns:
        None for a metric that is not a mean of values between 0 and 1.
    """
    if metric == "accuracy":
        return round(sum(counts))
    if metric in ("balanced_accuracy", "macro_f1"):
        present = [n for n in counts if n]
        return math.floor(len(present) ** 2 / sum(1 / n for n in present) + 1e-9)
    return None
