"""The benchmark's network in Lightning; imported only if Lightning is installed."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

try:
    import lightning
    from lightning.pytorch.loggers import CSVLogger
except ImportError:  # the same under its older name
    import pytorch_lightning as lightning
    from pytorch_lightning.loggers import CSVLogger

for name in ("lightning.pytorch", "pytorch_lightning"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    def __init__(
        self, network: torch.nn.Module, optimizer: Any, epochs: int, now: Callable[[], float]
    ) -> None:
        super().__init__()
        self.now = now
        self.network, self.optimizer, self.epochs = network, optimizer, epochs
        self.accuracy = MulticlassAccuracy(10, average="micro")
        self.marks: list[float] = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        error = F.cross_entropy(self.network(batch[0]), batch[1])
        self.log("train_loss", error, on_step=False, on_epoch=True)
        return error

    def validation_step(self, batch: Any, index: int) -> None:
        logits = self.network(batch[0])
        self.accuracy(logits, batch[1])
        self.log("accuracy", self.accuracy)
        self.log("loss", F.cross_entropy(logits, batch[1]))

    def on_train_epoch_end(self) -> None:  # after the validation
        self.marks.append(self.now())

    def configure_optimizers(self) -> Any:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.epochs)
        return [self.optimizer], [schedule]


def train(job: Any, directory: str | None, *, tuned: bool) -> list[float]:
    """Train, and return the time at the end of each epoch.

    With a directory, each epoch is logged there as CSV and checkpointed.
    """
    found, network, optimizer = job.build(tuned=tuned)
    module = Module(network, optimizer, job.epochs + 1, job.now)
    trainer = lightning.Trainer(
        accelerator="gpu" if job.place.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        max_epochs=job.epochs + 1,
        num_sanity_val_steps=0,
        default_root_dir=directory,
        logger=CSVLogger(directory) if directory else False,
        enable_checkpointing=directory is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = [
        DataLoader(
            TensorDataset(found.normalise(split.images), split.labels),
            size, shuffle=drop, drop_last=drop,
        )
        for split, size, drop in (
            (found.train, job.batch, True), (found.validation, job.eval_batch, False),
        )
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that more data workers would be faster: not on tensors
        trainer.fit(module, *loaders)
    return module.marks
