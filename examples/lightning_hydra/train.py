"""A Hydra application that trains a LightningModule, laid out as lightning-hydra-template is.

It knows nothing of tuner: a callback in ``conf/callbacks/tuner.yaml`` reports and resumes.
"""

from typing import Any

import hydra
import lightning
import torch
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


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
        self.log("val/acc", (self.network(x).argmax(1) == y).float().mean(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def loaders(batch_size: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return batches of training digits, and all validation images at once."""
    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16, labels, test_size=0.25, random_state=0)
    learn, score = (
        TensorDataset(torch.tensor(a, dtype=torch.float32), torch.tensor(b))
        for a, b in ((x, y), (x_val, y_val))
    )
    return DataLoader(learn, batch_size, shuffle=True), DataLoader(score, len(score))


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Return the validation accuracy of the last epoch."""
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    callbacks = [hydra.utils.instantiate(callback) for callback in cfg.callbacks.values()]
    trainer: lightning.Trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks)
    trainer.fit(hydra.utils.instantiate(cfg.model), *loaders(cfg.batch_size))
    return float(trainer.callback_metrics["val/acc"])


if __name__ == "__main__":
    main()
