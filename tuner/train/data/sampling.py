"""The order in which an epoch visits the images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tuner.errors import ConfigError


def shuffled(count: int, generator: torch.Generator) -> Tensor:
    """Return every image once in random order: int64 [count] on the generator's device."""
    return torch.randperm(count, generator=generator, device=generator.device)


def check(counts: Sequence[int]) -> None:
    """Check that the targets are classes, which can be balanced.

    Raises:
        ConfigError: The targets are numbers.
    """
    if not counts:
        raise ConfigError(
            "true, but the targets are not classes", key="data.balanced", hint="data.balanced=false"
        )


def balanced(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return a random order with the same number (± 1) of visits to each class.

    The images of a class are visited in random order, and no image is repeated before all of the
    class have been visited: those of a rare class are repeated evenly, and each epoch uses another
    part of a frequent class. ``labels`` int64 [n] must contain every class.

    Returns:
        int64 [n], as many visits as there are images; without synchronisation with the device.
    """
    places = torch.arange(len(labels), device=labels.device)
    order = shuffled(len(labels), generator)
    by_class = order[labels[order].argsort(stable=True)]  # each class in a row, in random order
    # The classes that get one more visit, because of the remainder, change with the epoch.
    first = torch.randint(classes, (1,), generator=generator, device=labels.device)
    label = (places + first) % classes
    sizes = torch.zeros(classes, dtype=torch.int64, device=labels.device)
    sizes.index_add_(0, labels, torch.ones_like(labels))
    starts = sizes.cumsum(0) - sizes
    turn = torch.div(places, classes, rounding_mode="floor")
    visits = by_class[starts[label] + turn % sizes[label]]
    return visits[shuffled(len(labels), generator)]
