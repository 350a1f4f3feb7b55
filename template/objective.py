"""The objective: a small network for scikit-learn's digits.  Replace it with your own training.

An objective is any callable with a ``report`` keyword; its other arguments are the keys below
``objective`` in ``conf/objective/mine.yaml``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


def train(
    *,
    width: int,
    dropout: float,
    lr: float,
    batch_size: int,
    epochs: int,
    score_on: Literal["validation", "test"],
    seed: int,
    run_dir: Path,
    report: Callable[..., None],
) -> float:
    """Train one configuration and return its accuracy.  Do not catch what ``report`` raises."""
    (x, y), (x_score, y_score) = digits(score_on)
    torch.manual_seed(seed)
    network = build(width, dropout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    checkpoint = run_dir / "checkpoint.pt"  # the same for all attempts
    first, accuracy = 1, 0.0
    if checkpoint.exists():  # resume an interrupted attempt
        saved = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first, accuracy = saved["epoch"] + 1, saved["accuracy"]
        report(saved["epoch"], accuracy=accuracy)  # counts once, even if it was reported before
    for epoch in range(first, epochs + 1):
        torch.manual_seed(seed + 1000 * epoch)  # the same batches, resumed or not
        network.train()
        for batch in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            accuracy = (network(x_score).argmax(1) == y_score).double().mean().item()
        save(
            checkpoint,
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch,
                "accuracy": accuracy,
            },
        )
        report(epoch, accuracy=accuracy, loss=loss.item())
    return accuracy


def build(width: int, dropout: float) -> nn.Module:
    """Return two convolutions and a dense layer for 8x8 grey pixels and 10 classes."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(2 * width * 16, 10),
    )


def digits(score_on: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return images and labels for training, and those for scoring.

    A search trains on the training images and scores on the validation images; `tuner final`
    trains on both and scores on the test images, which no search has used.
    """
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=0)
    if score_on == "validation":
        x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
    return (torch.from_numpy(x), torch.from_numpy(y)), (
        torch.from_numpy(x_test),
        torch.from_numpy(y_test),
    )


def save(path: Path, state: dict[str, object]) -> None:
    """Write, then rename: if the process dies in between, the previous checkpoint remains."""
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)
