"""A custom LightningModule, which reports through a callback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Report(Callback):
    """Reports the validation metrics after every epoch, once its checkpoint is written.

    Exceptions of ``report`` pass through the Trainer's loop and end it.
    """

    def __init__(self, report: Callable[..., None]) -> None:
        self.report = report

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if found:  # a resumed run ends the checkpoint's epoch again, without scores
            self.report(trainer.current_epoch + 1, **found)


class Digits(lightning.LightningModule):
    """A network with one hidden layer for 8x8 grey pixels."""

    def __init__(self, hidden: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.network = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch: list[Tensor], _index: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.network(x), y)

    def validation_step(self, batch: list[Tensor], _index: int) -> None:
        x, y = batch
        self.log("accuracy", (self.network(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def train(
    *,
    hidden: int,
    lr: float,
    batch_size: int,
    epochs: int,
    seed: int,
    run_dir: Path,
    report: Callable[..., None],
) -> float:
    """Return the validation accuracy; resume an interrupted configuration from its checkpoint."""
    lightning.seed_everything(seed, verbose=False)
    learn, score = loaders(batch_size)
    # Written after the validation of an epoch, and thus before its end and its report.
    checkpoint = ModelCheckpoint(dirpath=run_dir, save_last=True, save_on_train_epoch_end=False)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        callbacks=[checkpoint, Report(report)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="auto",
        devices=1,
    )
    last = run_dir / "last.ckpt"
    trainer.fit(Digits(hidden, lr), learn, score, ckpt_path=last if last.exists() else None)
    return float(trainer.callback_metrics["accuracy"])


def loaders(batch_size: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return batches of training digits, and all validation images at once."""
    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, labels, test_size=0.25, random_state=0)
    learn, score = (
        TensorDataset(torch.tensor(a, dtype=torch.float32), torch.tensor(b))
        for a, b in ((x, y), (x_val, y_val))
    )
    return DataLoader(learn, batch_size, shuffle=True), DataLoader(score, len(score))
