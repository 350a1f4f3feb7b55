"""The losses of k networks, each with its own settings."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tuner.train.loss import CrossEntropy, Loss, mean


def stacked(of: Sequence[Loss], device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss that maps logits [k, b, classes] and labels [k, b] to the k losses [k]."""
    if all(type(loss) is CrossEntropy for loss in of):
        return CrossEntropies(of, device)  # type: ignore[arg-type]
    return lambda logits, labels: torch.stack(
        [loss(*pair) for loss, *pair in zip(of, logits, labels, strict=True)]
    )


class CrossEntropies:
    """``F.cross_entropy`` with the label smoothing and the class weights of each network."""

    def __init__(self, of: Sequence[CrossEntropy], device: torch.device) -> None:
        self.smoothing = torch.tensor([loss.label_smoothing for loss in of], device=device)
        self.weight: Tensor | None = None
        widths = [len(loss.weight) for loss in of if loss.weight is not None]
        if widths:
            ones = torch.ones(widths[0], device=device)
            self.weight = torch.stack([ones if ls.weight is None else ls.weight for ls in of])

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.float().log_softmax(-1)
        own = logs.gather(2, labels[..., None]).squeeze(2)
        if self.weight is None:
            plain, spread = -own.mean(1), -logs.mean((1, 2))
        else:
            share = self.weight.gather(1, labels)
            normaliser = share.sum(1)
            plain = mean(-(share * own).sum(1), normaliser)
            spread = mean(-(logs * self.weight[:, None]).mean(2).sum(1), normaliser)
        return torch.lerp(plain, spread, self.smoothing)
