"""The dropout masks of k networks, each drawn from its own network's random stream."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tuner.train.fused.stacked_modules import Masked

# Number of values to draw at once for one layer of one network on an accelerator, where each draw
# launches a kernel; a network's masks must not depend on the number of networks.
DRAWN = 2**20


class Masks:
    """The masks [b, k·c, …] of each dropout layer, step by step.

    ``rates[layer][model]`` are the dropout probabilities; ``shapes`` are those of the layers'
    inputs. ``streams`` holds each network's generator in the state of a training alone: on the CPU
    the masks are then identical.
    """

    def __init__(self, rates: Sequence[Sequence[float]], shapes: Sequence[tuple[int, ...]]) -> None:
        self.rates, self.shapes = rates, shapes

    def epoch(self, streams: Sequence[torch.Generator], steps: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield one tuple of masks per step; a layer without dropout has a mask of ones."""
        device = streams[0].device
        sizes = [torch.Size(shape).numel() // len(streams) for shape in self.shapes]
        chunk = 1 if device.type == "cpu" else max(1, DRAWN // max(sizes, default=1))
        for start in range(0, steps, chunk):
            count = min(chunk, steps - start)
            # In the order in which a single network would draw them.
            drawn = [
                [self._draw(layer, model, count, stream) for layer in range(len(self.shapes))]
                for model, stream in enumerate(streams)
            ]
            stacks = [torch.stack(of_layer, dim=2) for of_layer in zip(*drawn, strict=True)]
            for step in range(count):
                yield tuple(
                    stack[step].flatten(1).view(shape)
                    for stack, shape in zip(stacks, self.shapes, strict=True)
                )

    def _draw(self, layer: int, model: int, count: int, stream: torch.Generator) -> Tensor:
        """Draw float32 [count, b, c, …]: 0 where dropped, else the factor that keeps the mean."""
        batch, channels, *size = self.shapes[layer]
        models = len(self.rates[layer])
        keep = 1 - self.rates[layer][model]
        mask = torch.empty(count, batch, channels // models, *size, device=stream.device)
        if keep in (0.0, 1.0):
            return mask.fill_(keep)
        return mask.bernoulli_(keep, generator=stream).div_(keep)


def layers(network: nn.Module) -> list[nn.Dropout]:
    """Return the dropout layers, in the order in which they are defined."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]


def shapes(network: nn.Module) -> list[tuple[int, ...]]:
    """Return the input shape of each layer of the stacked network in its last call."""
    return [layer.shape for layer in layers(network) if isinstance(layer, Masked)]


def put(network: nn.Module, masks: Sequence[Tensor]) -> None:
    """Make the stacked network's layers use ``masks`` in the next call."""
    for layer, mask in zip(layers(network), masks, strict=True):
        assert isinstance(layer, Masked)
        layer.mask = mask
