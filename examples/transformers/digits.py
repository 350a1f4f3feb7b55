"""A small vision transformer of random weights, trained by the Trainer of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import (
    EvalPrediction,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

from tuner.integrations.transformers import Report, last_checkpoint


def train(
    *, hidden: int, lr: float, batch_size: int, epochs: int, seed: int, run_dir: Path, **_: Any
) -> float:
    """Return the validation accuracy."""
    set_seed(seed)
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        num_labels=10,
    )
    arguments = TrainingArguments(
        output_dir=str(run_dir),
        learning_rate=lr,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=512,
        num_train_epochs=epochs,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    learn, score = data()
    trainer = Trainer(
        ViTForImageClassification(config),
        arguments,
        train_dataset=learn,
        eval_dataset=score,
        compute_metrics=accuracy,
        callbacks=[Report()],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(run_dir))
    return trainer.evaluate()["eval_accuracy"]


def accuracy(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(found.predictions.argmax(1) == found.label_ids))}


def data() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return training and validation examples, images of 1x8x8 and their labels."""
    images, labels = load_digits(return_X_y=True)
    pixels = (images / 16 - 0.3).astype(np.float32).reshape(-1, 1, 8, 8)
    x, x_val, y, y_val = train_test_split(pixels, labels, test_size=0.25, random_state=0)
    learn, score = (
        [{"pixel_values": image, "labels": label} for image, label in zip(a, b, strict=True)]
        for a, b in ((x, y), (x_val, y_val))
    )
    return learn, score
