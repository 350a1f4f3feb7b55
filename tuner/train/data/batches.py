"""Prepare the batches of an epoch on the device before the step that needs them.

If the images are on the device, nothing is copied. Otherwise, the host gathers the next chunk into
pinned memory, and a separate stream copies it to the device, which processes the previous chunk
meanwhile.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tuner.train.data.tensors import Data, Split
from tuner.train.device import hardware

# Pixels augmented at once, in whole batches. On an accelerator, about 40 batches of 128 images:
# the twenty kernels that gather them then cost a few microseconds per batch, and their indices take
# 32 MiB. On a CPU, what fits into its cache: one such batch, or 64 batches of digits, whose steps
# take 2 ms; calling these kernels in each of these steps would take 10 % longer.
CHUNK = {"cpu": 2**17, "accelerator": 2**22}
# Pixels evaluated at once on a CPU: 334 images of 28 x 28.  1,024 at once are not faster (134 ms,
# and 133 in portions of 256), take 200 MB more, and 247 ms in a thread, whose heaps are small.
WHOLE_ON_CPU = 2**18


class Feed:
    """Batches of a data set's splits: images float32 [b, C, H, W] (channels_last), labels [b]."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.device = data.mean.device
        self.stream = hardware.stream(self.device)

    def epoch(
        self, split: Split, order: Tensor, draws: Tensor, size: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole batches of ``size`` images in ``order``, from batch ``start`` on.

        Args:
            order: int64 [n] in main memory.
            draws: [n, …] on the device, one row of augmentation per place in the order.
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
        """Yield a split in its own order without augmentation; the last batch may be smaller."""
        for first in range(0, len(split), size):
            rows = slice(first, first + size)
            images = self._carry(split.images[rows]) if split.streamed else split.images[rows]
            yield self.data.normalise(images), split.labels[rows]

    def portion(self, size: int) -> int:
        """Return how many of ``size`` images to evaluate at once."""
        if self.device.type != "cpu":
            return size
        return min(size, max(1, WHOLE_ON_CPU // math.prod(self.data.in_shape)))

    def _batches(self, size: int) -> int:
        """Return how many batches to prepare at once."""
        pixels = CHUNK["cpu" if self.device.type == "cpu" else "accelerator"]
        return max(1, pixels // (math.prod(self.data.in_shape) * size))

    def _source(self, split: Split, host: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return images on the device, and the index of the needed ones in them."""
        if not split.streamed:
            return split.images, index
        pinned = self.device.type == "cuda"
        shape = (len(host), *split.images.shape[1:])
        staged = torch.empty(shape, dtype=split.images.dtype, pin_memory=pinned)
        torch.index_select(split.images, 0, host, out=staged)
        return self._carry(staged), torch.arange(len(host), device=self.device)

    def _carry(self, images: Tensor) -> Tensor:
        """Copy to the device, concurrently with its computations."""
        if self.stream is None:
            return images.to(self.device)
        main = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            carried = hardware.sent(images, self.device)
        main.wait_stream(self.stream)
        carried.record_stream(main)
        return carried
