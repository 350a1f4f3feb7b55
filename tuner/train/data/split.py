"""Split a data set into two parts that hold each class in proportion."""

import numpy as np

from tuner.errors import ConfigError


def split(
    labels: np.ndarray, size: float | int, seed: int, *, key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers of the rest and of ``size`` (a share, or a count), stratified by class.

    Float targets have no classes, and are split at random.

    Raises:
        ConfigError: No such split exists; the message names ``key``.
    """
    from sklearn.model_selection import train_test_split  # 0.9 s: only where it is used

    classes = None if labels.dtype.kind == "f" else labels
    try:
        rest, part = train_test_split(
            np.arange(len(labels)), test_size=size, stratify=classes, random_state=seed
        )
    except ValueError as error:
        raise ConfigError(
            f"{size} cannot split {len(labels)} images by class: {error}",
            key=key,
            hint="a share between 0 and 1 that leaves every class an image on either side",
        ) from error
    return rest, part
