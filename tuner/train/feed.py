"""The batches of an epoch, made ready on the device before the step that wants them.

Where the images lie on the device nothing is copied.  Where they did not fit, the host gathers the
next chunk into pinned memory and a stream of its own carries it over while the device still works
on the chunk before.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tuner.train import hardware
from tuner.train.data import Data, Split

# Pixels augmented at once, in whole batches.  On an accelerator some 40 batches of 128 small
# images: the twenty kernels that gather them cost a batch a few microseconds, and their indices
# take 32 MiB.  On a CPU what its cache holds: one such batch, or 64 of digits, whose steps of 2 ms
# these kernels' calls would make 10 % longer.
CHUNK = {"cpu": 2**17, "accelerator": 2**22}
# Pixels evaluated at once on a CPU: 334 images of 28 x 28.  1,024 of them are no faster (134 ms for
# 133 in 256s), take 200 MB more, and in a thread, whose heaps are small, twice as long (247 ms).
WHOLE_ON_CPU = 2**18


class Feed:
    """Batches of a data set's splits: images float32 [b, C, H, W] (channels_last), labels [b]."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.device = data.mean.device
        self.stream: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def epoch(
        self, split: Split, order: Tensor, draws: Tensor, size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole batches of ``size`` images in ``order``, from batch ``start`` on.

        ``order`` int64 [n] lies in main memory.  ``draws`` [n, …], on the device, are the
        augmentation's, one row for each place in the order.
        """
        many = size * self._batches(size)
        end = len(order) // size * size
        index = hardware.sent(order, self.device)
        for first in range(start * size, end, many):
            rows = slice(first, min(first + many, end))
            images, places = self._source(split, order[rows], index[rows])
            batch = self.data.normalise(self.data.augment.take(images, places, draws[rows]))
            labels = split.labels.index_select(0, index[rows])
            yield from zip(torch.split(batch, size), torch.split(labels, size), strict=True)

    def whole(self, split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of a split in its own order, nothing augmented; the last batch may be smaller."""
        for first in range(0, len(split), size):
            rows = slice(first, first + size)
            images = split.images[rows]
            if not self._resident(split):
                images = self._carry(images)
            yield self.data.normalise(images), split.labels[rows]

    def portion(self, size: int) -> int:
        """How many of ``size`` images it pays to evaluate at once."""
        if self.device.type != "cpu":
            return size
        return min(size, max(1, WHOLE_ON_CPU // math.prod(self.data.in_shape)))

    def _batches(self, size: int) -> int:
        """How many batches to make at once."""
        channels, height, width = self.data.in_shape
        pixels = CHUNK["cpu" if self.device.type == "cpu" else "accelerator"]
        return max(1, pixels // (channels * height * width * size))

    def _resident(self, split: Split) -> bool:
        return not split.streamed

    def _source(self, split: Split, host: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images on the device, and the index of the wanted ones in them."""
        if self._resident(split):
            return split.images, index
        pinned = self.device.type == "cuda"
        shape = (len(host), *split.images.shape[1:])
        staged = torch.empty(shape, dtype=split.images.dtype, pin_memory=pinned)
        torch.index_select(split.images, 0, host, out=staged)
        return self._carry(staged), torch.arange(len(host), device=self.device)

    def _carry(self, images: Tensor) -> Tensor:
        """Copies to the device, beside what it computes."""
        if self.stream is None:
            return images.to(self.device)
        main = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            carried = hardware.sent(images, self.device)
        main.wait_stream(self.stream)
        carried.record_stream(main)
        return carried
