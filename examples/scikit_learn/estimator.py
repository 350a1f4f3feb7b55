"""scikit-learn estimators that report intermediate values: by passes, and by growing."""

from collections.abc import Callable
from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def passes(*, estimator: ClassifierMixin, epochs: int, report: Callable[..., None]) -> float:
    """Train an estimator with ``partial_fit`` for a number of passes over the training data."""
    x, x_val, y, y_val = data()
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        estimator.partial_fit(x, y, classes=range(10))
        accuracy = float(estimator.score(x_val, y_val))
        report(epoch, accuracy=accuracy)
    return accuracy


def grown(
    *, estimator: ClassifierMixin, epochs: int, trees: int, report: Callable[..., None]
) -> float:
    """Train an ensemble with ``warm_start``: each step adds ``trees`` to it."""
    x, x_val, y, y_val = data()
    accuracy = 0.0
    for step in range(1, epochs + 1):
        estimator.set_params(n_estimators=step * trees)
        estimator.fit(x, y)
        accuracy = float(estimator.score(x_val, y_val))
        report(step, accuracy=accuracy)
    return accuracy


def data() -> list[Any]:
    """Return digits for training and for scoring."""
    images, labels = load_digits(return_X_y=True)
    split: list[Any] = train_test_split(images / 16, labels, test_size=0.25, random_state=0)
    return split
