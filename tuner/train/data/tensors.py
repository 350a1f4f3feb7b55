"""Labelled images in main memory, and on the device as the splits of a data set."""

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tuner.errors import TunerError
from tuner.train.data.augment import Augment


@dataclass(frozen=True)
class Arrays:
    """Labelled images in main memory.

    Args:
        images: uint8 [n, H, W, C], grey levels from 0 to 255; C is 1 or 3.
        labels: int64 [n], the class of each image, counted from 0; float32 [n, k] for regression.
        classes: Names of the classes; names of the k targets for regression.

    Example:
        >>> images = np.zeros((4, 8, 8, 1), np.uint8)
        >>> some = Arrays(images, np.array([0, 1, 0, 1]), ("cat", "dog"))
        >>> some[np.array([0, 2])].labels
        array([0, 0])
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __getitem__(self, rows: np.ndarray) -> "Arrays":
        return Arrays(self.images[rows], self.labels[rows], self.classes)

    def fingerprint(self) -> str:
        """Return a digest of all bytes; computed at 2 GB per second if the CPU supports SHA."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        for array in (self.images, self.labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Split:
    """``images`` uint8 [n, H, W, C] and ``labels`` int64 [n], or float [n, k], on the device.

    Channels are last in memory, as convolutions need them: a gathered batch needs no transpose. The
    images of a ``streamed`` split stay in main memory.
    """

    images: Tensor
    labels: Tensor
    streamed: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def host_labels(self) -> Tensor:
        """The labels in main memory; the first access waits for the device."""
        return self.labels.cpu()

    def __add__(self, other: "Split") -> "Split":
        images = torch.cat([self.images, other.images])
        labels = torch.cat([self.labels, other.labels])
        return Split(images, labels, self.streamed)


@dataclass(frozen=True)
class Data:
    """Three disjoint splits, the class names, and the augmentation of training images.

    ``place`` creates one; ``dataclasses.replace(data, augment=augment)`` adds an augmentation.

    Args:
        train: Images to learn from: a ``Split`` with ``images`` uint8 [n, H, W, C] and ``labels``
            int64 [n], or float32 [n, k] for regression, on the device.
        validation: Images to score each epoch and to choose the configuration.
        test: Images that only ``tuner final`` scores, once.
        classes: Names of the classes; names of the targets for regression.
        mean: float [C], the mean grey level (0 … 255) of the training split.
        std: float [C], the standard deviation of the grey levels of the training split.
        augment: Augmentation of the training images.
        balanced: Draw all classes equally often, by repeating images of rare ones.
        fingerprint: Identifies the images and labels before they were split.

    Example::

        data = place(pool, test, device, validation=0.25, split_seed=0, limit=None)
        data = dataclasses.replace(data, augment=augment)
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor
    augment: Augment = field(default_factory=Augment)
    balanced: bool = False
    fingerprint: str = ""

    @property
    def regression(self) -> bool:
        """Whether the labels are float targets [n, k], and ``classes`` their k names."""
        return self.train.labels.is_floating_point()

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, height, width, channels = self.train.images.shape
        return channels, height, width

    def counts(self, split: Split) -> list[int]:
        """Return the number of images of each class in a split; empty for float targets."""
        if self.regression:
            return []
        counts: list[int] = torch.bincount(split.host_labels, minlength=len(self.classes)).tolist()
        return counts

    def check(self, learned: Split, scored: Split) -> None:
        """Check that the network can learn the labels.

        Raises:
            TunerError: A label is out of range, a class is empty, or a target is not finite.
        """
        if self.regression:
            if not torch.stack([s.labels.isfinite().all() for s in (learned, scored)]).all():
                raise TunerError("some targets are NaN or infinite", hint="correct the data set")
            return
        ends = torch.stack([torch.stack(s.host_labels.aminmax()) for s in (learned, scored)])
        low, high = int(ends.min()), int(ends.max())
        if low < 0 or high >= len(self.classes):
            raise TunerError(
                f"labels from {low} to {high} for {len(self.classes)} classes",
                hint=f"labels count from 0; {len(self.classes)} classes are named",
            )
        empty = [self.classes[label] for label, n in enumerate(self.counts(learned)) if not n]
        if empty:
            raise TunerError(
                f"{len(empty)} of {len(self.classes)} classes have no training images: "
                f"{', '.join(empty[:5])}",
                hint="add images, or remove these classes",
            )

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [b, H, W, C] → float32 [b, C, H, W] in channels_last layout, mean 0, sd 1."""
        return ((images - self.mean) / self.std).permute(0, 3, 1, 2)
