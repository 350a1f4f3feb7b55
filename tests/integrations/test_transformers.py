"""The Trainer of transformers reports and resumes through a callback."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.integrations.test_lightning import Told
from tests.test_public_api import documented, run_examples
from tuner import objective
from tuner.errors import Preempted, TunerError

pytestmark = [
    pytest.mark.slow,  # importing transformers takes seconds
    pytest.mark.skipif(
        importlib.util.find_spec("transformers") is None
        or importlib.util.find_spec("accelerate") is None,
        reason="pip install 'tuner[transformers]'",
    ),
    pytest.mark.filterwarnings("ignore"),  # those of the trainer
]


class Network(nn.Module):
    """A network of random weights, as the trainer calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layer(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def fit(directory: Path, told: Told | None, monitor: str | None = None, **options: Any) -> Any:
    """Train for 3 epochs of 4 steps, in a trial if something is to be told."""
    import transformers

    from tuner.integrations.transformers import Report, last_checkpoint

    settings = {"num_train_epochs": 3, "eval_strategy": "epoch", "save_strategy": "epoch"}
    settings |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 1}
    settings |= {"per_device_train_batch_size": 16, "learning_rate": 0.1, "save_total_limit": 1}
    transformers.set_seed(1)
    arguments = transformers.TrainingArguments(str(directory), **settings | options)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    rows = [{"x": row, "labels": int(row[0] > 0)} for row in x]
    trainer = transformers.Trainer(
        Network(), arguments, train_dataset=rows, eval_dataset=rows, callbacks=[Report(monitor)]
    )
    if told is None:
        trainer.train()
    else:
        with objective.running(told, directory):
            trainer.train(resume_from_checkpoint=last_checkpoint(directory))
            trainer.evaluate()  # after the training: not reported
    return trainer


def losses(told: Told) -> dict[int, float]:
    return {step: metrics["eval_loss"] for step, metrics in told.steps.items()}


def test_an_interrupted_training_goes_on_where_it_was(tmp_path):
    whole, first, second = Told(), Told(2, Preempted("SIGTERM")), Told()
    expected = fit(tmp_path / "whole", whole).model.layer.weight
    with pytest.raises(Preempted):
        fit(tmp_path / "cut", first)
    (tmp_path / "cut/checkpoint-12").mkdir()  # a killed process was writing it
    trainer = fit(tmp_path / "cut", second)
    assert (list(losses(first)), list(losses(second))) == ([1, 2], [2, 3])
    assert losses(first) | losses(second) == losses(whole)
    assert torch.equal(trainer.model.layer.weight, expected)
    assert whole.fenced == 3


def test_evaluations_between_epochs_are_counted(tmp_path):
    told = Told()
    fit(tmp_path, told, "eval_loss", eval_strategy="steps", eval_steps=3, save_strategy="no")
    assert list(told.steps) == [1, 2, 3, 4]
    assert {name for metrics in told.steps.values() for name in metrics} == {"eval_loss"}


def test_outside_of_a_search_nothing_is_reported(tmp_path):
    fit(tmp_path, None, "eval_absent", save_strategy="no")
    with pytest.raises(TunerError, match=r"'eval_absent'\): the metrics are eval_loss, .*; hint"):
        fit(tmp_path, Told(), "eval_absent")


def test_what_is_public_is_documented():
    from tuner.integrations import transformers

    for name in transformers.__all__:
        documented(getattr(transformers, name))
        run_examples(getattr(transformers, name))
