"""A typical Hydra application, with its own configuration tree and its own main.

Only the two lines with ``report`` belong to tuner; without them the program can be searched, but
not pruned. If the program is run by itself, they have no effect.
"""

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from tuner.objective import report

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="main")
def main(cfg: DictConfig) -> float:
    """Return the validation accuracy after ``cfg.epochs`` passes over the digits."""
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x / 16, y, test_size=0.25, random_state=0)
    model: SGDClassifier = hydra.utils.instantiate(cfg.model, random_state=cfg.seed)
    accuracy = 0.0
    for epoch in range(1, cfg.epochs + 1):
        model.partial_fit(x, y, classes=range(10))
        accuracy = float(model.score(x_val, y_val))
        log.info("epoch %d: accuracy %.4f", epoch, accuracy)
        report(epoch, accuracy=accuracy)
    (Path(HydraConfig.get().runtime.output_dir) / "accuracy.txt").write_text(f"{accuracy}\n")
    return accuracy


if __name__ == "__main__":
    main()
