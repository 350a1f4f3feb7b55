"""An exported model predicts as it did when it was tested, for any image."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tuner
from tests import recipes
from tests.recipes import Curve, settings, train
from tuner.errors import TunerError
from tuner.train.data import npz
from tuner.train.data.augment import Augment
from tuner.train.loss import MeanSquaredError
from tuner.train.model import torchvision as transfer

FINAL = settings(protocol="final", epochs=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    train(directory, Curve(), trainer=FINAL)
    return directory


def test_it_says_what_was_said_when_it_was_tested(trained: Path) -> None:
    model = tuner.load(trained)
    test = recipes.digits().test
    found = model.run(test.images.numpy())
    assert found.sum(1) == pytest.approx(np.ones(len(test)), abs=1e-5)
    hits = (found.argmax(1) == test.labels.numpy()).mean()
    assert hits == pytest.approx(model.card["metrics"]["accuracy"])
    known = load_file(trained / "examples.safetensors")
    assert np.abs(model.run(known["images"].numpy()) - known["outputs"].numpy()).max() < 1e-6


def test_averaged_weights_and_views_are_what_is_taken_home(tmp_path: Path) -> None:
    train(tmp_path, Curve(), trainer=settings(protocol="final", epochs=2, ema=0.9, tta=True))
    model = tuner.load(tmp_path)
    test = recipes.digits().test
    hits = (model.run(test.images.numpy()).argmax(1) == test.labels.numpy()).mean()
    assert hits == pytest.approx(model.card["metrics"]["accuracy"])


def test_a_path_a_picture_and_an_array_are_the_same(trained: Path, tmp_path: Path) -> None:
    model = tuner.load(trained)
    array = recipes.digits().test.images[0].numpy()
    picture = Image.fromarray(array[..., 0])
    path = tmp_path / "a picture.png"
    picture.save(path)
    first, *others = (model(one) for one in (array, array[..., 0], picture, path, str(path)))
    assert all(other == first for other in others)
    assert first.label in model.classes
    assert first.probability == max(first.scores.values())


def test_many_are_told_in_their_order(trained: Path) -> None:
    model = tuner.load(trained)
    images = recipes.digits().train.images[:150].numpy()
    told = [one.label for one in model.predict(iter(images))]
    assert told == [model.classes[k] for k in model.run(images).argmax(1)]


def test_numbers_are_told_as_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8), np.uint8)
    targets = np.stack([images.mean((1, 2)) / 255, rng.random(80)], 1)
    np.savez(tmp_path / "own.npz", images=images, targets=targets, names=["bright", "other"])
    split = {"validation": 0.25, "test": 0.2, "split_seed": 0, "limit": None}
    data = functools.partial(
        npz.npz, root=str(tmp_path), name="own.npz", augment=Augment(), **split
    )
    loss = functools.partial(MeanSquaredError, l1=0.0, l2=0.0)
    train(tmp_path, Curve(), data=data, loss=loss, metric="mse", trainer=FINAL)
    told = tuner.load(tmp_path)(images[0])
    assert (told.label, told.probability) == (None, None)
    assert list(told.scores) == ["bright", "other"]


def test_a_torchvision_network_is_built_without_its_weights(tmp_path: Path, monkeypatch) -> None:
    """Its preset is known by the weights' name; the weights themselves are the export's."""
    from torchvision import models

    network = functools.partial(
        transfer.classifier, name="squeezenet1_1", weights="IMAGENET1K_V1", size=32, dropout=None,
        freeze=0.0, unfreeze_epoch=0, layer_decay=1.0,
    )  # fmt: skip
    plain = models.get_model
    monkeypatch.setattr(models, "get_model", lambda name, weights=None, **k: plain(name, **k))
    train(tmp_path, Curve(), model=network, trainer=settings(protocol="final", epochs=1))

    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(models.squeezenet.SqueezeNet1_1_Weights, "get_state_dict", fetched)
    known = load_file(tmp_path / "examples.safetensors")
    found = tuner.load(tmp_path).run(known["images"].numpy())
    assert np.abs(found - known["outputs"].numpy()).max() < 1e-5


class Own(torch.nn.Sequential):
    """A network of a user's."""

    def __init__(self, in_shape: tuple[int, int, int], num_classes: int, hidden: int) -> None:
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(in_shape[1] * in_shape[2], hidden),
            torch.nn.Linear(hidden, num_classes),
        )


def test_code_of_others_is_imported_only_when_it_is_trusted(tmp_path: Path) -> None:
    train(tmp_path, Curve(), model=functools.partial(Own, hidden=5), trainer=FINAL)
    with pytest.raises(TunerError, match=r"tests\.train\.test_predictor\.Own.*trust"):
        tuner.load(tmp_path)
    assert tuner.load(tmp_path, trust=True)(np.zeros((8, 8), np.uint8)).label


@pytest.mark.parametrize(
    "target",
    ["os.system", "tuner.train.model.cnn.nn.Sequential", "tuner.train.model.pretrained.load"],
)
def test_a_card_cannot_name_what_is_run(trained: Path, tmp_path: Path, target: str) -> None:
    card = json.loads((trained / "model.json").read_text())
    card["recipe"]["model"] = target
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(TunerError, match="not one of tuner's networks"):
        tuner.load(tmp_path)


def test_what_cannot_be_used_is_said(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"contains no model.*tuner export"):
        tuner.load(tmp_path)
    model = tuner.load(trained)
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(TunerError, match=r"no\.png cannot be read as an image"):
        model(tmp_path / "no.png")
    with pytest.raises(TunerError, match="got float64; hint: "):
        model(np.zeros((8, 8)))


def test_a_pipe_is_refused_and_not_waited_for(trained: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(TunerError, match=r"pipe\.png cannot be read .* it is a pipe or a device"):
        tuner.load(trained)(tmp_path / "pipe.png")


def test_naming_the_package_costs_no_torch() -> None:
    code = "import sys, tuner; tuner.__version__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        tuner.lode  # type: ignore[attr-defined]  # noqa: B018
