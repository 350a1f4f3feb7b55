"""Lightning's trainer reports and resumes through a callback, under both names of the package."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.test_public_api import documented, run_examples
from tuner import objective
from tuner.errors import Preempted, TunerError

pytestmark = [
    pytest.mark.slow,  # importing Lightning takes seconds
    pytest.mark.filterwarnings("ignore"),  # those of the trainer
]

NAMES = ["lightning", "pytorch_lightning"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"pip install {request.param}")
    return request.param


class Told:
    """A trial's ``report`` that keeps what it is told, and raises at a step."""

    def __init__(self, at: int | None = None, error: BaseException | None = None) -> None:
        self.at, self.error = at, error
        self.steps: dict[int, dict[str, float]] = {}
        self.fenced = 0

    def __call__(self, step: int, **metrics: float) -> None:
        self.steps[step] = metrics
        if step == self.at and self.error is not None:
            raise self.error

    def fence(self) -> None:
        self.fenced += 1


class Fit:
    """One training of a small network, with the usual callbacks."""

    def __init__(self, name: str, **report: Any) -> None:
        library = importlib.import_module("lightning" if name == "lightning" else name)
        callbacks = importlib.import_module(
            "lightning.pytorch.callbacks" if name == "lightning" else f"{name}.callbacks"
        )
        self.library, self.callbacks, self.options = library, callbacks, report
        self.Report = importlib.import_module(f"tuner.integrations.{name}").Report

    def __call__(self, directory: Path, told: Told | None, **options: Any) -> Any:
        """Train, in a trial if something is to be told, and return the trainer."""
        self.library.seed_everything(1, verbose=False)
        settings: dict[str, Any] = {"max_epochs": 3, "callbacks": self._usual(directory)}
        settings |= {"logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
        settings |= {"enable_model_summary": False, "default_root_dir": directory}
        if told is None:
            return self._fit(settings | options)
        with objective.running(told, directory):
            return self._fit(settings | options)

    def _usual(self, directory: Path) -> list[Any]:
        kept = self.callbacks.ModelCheckpoint(directory / "kept", monitor="val/acc", mode="max")
        patience = self.callbacks.EarlyStopping("val/acc", mode="max", patience=9)
        return [patience, kept]

    def _fit(self, settings: dict[str, Any]) -> Any:
        settings["callbacks"].append(self.Report(**self.options))
        trainer = self.library.Trainer(**settings)
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        data = TensorDataset(x, (x[:, 0] > 0).long())
        batches = (DataLoader(data, 16) for _ in range(2))
        trainer.fit(network(self.library), *batches)
        return trainer


def network(library: Any) -> Any:
    class Network(library.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

        def validation_step(self, batch: Any, _index: int) -> None:
            self.log("val/loss", nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))
            self.log("val/acc", (self.layer(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    return Network()


def test_an_interrupted_training_goes_on_where_it_was(name, tmp_path):
    fit = Fit(name)
    whole, first, second = Told(), Told(2, Preempted("SIGTERM")), Told()
    expected = fit(tmp_path / "whole", whole).lightning_module.layer.weight
    with pytest.raises(Preempted):
        fit(tmp_path / "cut", first)
    assert list(first.steps) == [1, 2]
    trainer = fit(tmp_path / "cut", second)
    assert list(second.steps) == [2, 3]  # the process might have died between save and report
    assert first.steps | second.steps == whole.steps
    assert set(whole.steps[1]) == {"val/acc", "val/loss"}
    assert torch.equal(trainer.lightning_module.layer.weight, expected)
    assert whole.fenced == 3
    kept = list((tmp_path / "cut" / "kept").iterdir())
    assert len(kept) == 1  # the state of ModelCheckpoint was resumed, too


def test_a_training_that_was_complete_has_its_metrics(name, tmp_path):
    fit = Fit(name, monitor="val/acc")
    first, second = Told(), Told()
    fit(tmp_path, first)
    trainer = fit(tmp_path, second)
    assert second.steps == {3: first.steps[3]}
    assert set(second.steps[3]) == {"val/acc"}
    assert set(trainer.callback_metrics) == {"val/acc", "val/loss"}
    assert float(trainer.callback_metrics["val/acc"]) == second.steps[3]["val/acc"]


def test_what_a_step_is(tmp_path):
    """An epoch with a validation, or a validation where these are counted in batches."""
    fit = Fit(NAMES[0], checkpoint=False)
    told = Told()
    fit(tmp_path, told, max_epochs=4, check_val_every_n_epoch=2, callbacks=[])
    assert list(told.steps) == [2, 4]
    told = Told()
    fit(tmp_path, told, val_check_interval=0.5, callbacks=[])  # the last one of each epoch
    assert list(told.steps) == [1, 2, 3]
    batches = {"check_val_every_n_epoch": None, "val_check_interval": 3, "max_steps": 12}
    told = Told()
    fit(tmp_path, told, max_epochs=-1, callbacks=[], **batches)
    assert list(told.steps) == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_outside_of_a_search_nothing_happens(tmp_path):
    fit = Fit(NAMES[0], monitor="absent")
    fit(tmp_path, None, callbacks=[], max_epochs=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TunerError, match=r"'absent'\): the metrics are val/loss, val/acc; hint"):
        fit(tmp_path, Told(), callbacks=[], max_epochs=1)


def test_the_callback_is_documented():
    report = Fit(NAMES[0]).Report
    documented(report)
    run_examples(report)
