"""Exported formats reproduce the model's outputs on real images with any batch size."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tuner
from tests.recipes import Curve, network, settings, train
from tuner.errors import TunerError
from tuner.train.export import formats

ONNX = pytest.mark.skipif(bool(formats.missing("onnx")), reason=f"needs {formats.NEEDED['onnx']}")
FORMS = ["pt2", pytest.param("onnx", marks=ONNX)]
NETWORKS = {
    "plain": {},
    "residual": {"block": "residual", "squeeze": 4, "pooling": "avg", "activation": "silu"},
}


@pytest.mark.parametrize(
    ("kind", "form", "tta"),
    [
        ("plain", "pt2", True),
        ("residual", "pt2", False),
        pytest.param("residual", "onnx", True, marks=ONNX),
    ],
)
def test_every_form_is_within_the_tolerance(
    tmp_path: Path, kind: str, form: str, tta: bool
) -> None:
    one = settings(protocol="final", epochs=1, tta=tta)
    train(tmp_path, Curve(), model=network(**NETWORKS[kind]), trainer=one)
    model = tuner.load(tmp_path)
    path = tmp_path / f"model.{form}"
    assert model.export(form, path, tmp_path / "examples.safetensors") <= formats.TOLERANCE
    assert path.stat().st_size > 1000
    assert not list(tmp_path.glob("model.*.data")), "one file holds it all"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    train(directory, Curve(), trainer=settings(protocol="final", epochs=1))
    return directory


@ONNX
def test_another_engine_runs_the_onnx_form_with_bytes(trained: Path, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    model = tuner.load(trained)
    model.export("onnx", path, trained / "examples.safetensors")
    session = onnxruntime.InferenceSession(path)
    (put,), (got,) = session.get_inputs(), session.get_outputs()
    assert (put.name, put.type, put.shape[1:]) == ("images", "tensor(uint8)", [8, 8, 1])
    assert got.name == "probabilities"
    images = np.random.default_rng(0).integers(0, 256, (37, 8, 8, 1), np.uint8)
    (found,) = session.run(None, {"images": images})
    assert np.abs(found - model.run(images)).max() < 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_says_otherwise_is_refused_and_removed(
    trained: Path, tmp_path: Path, form: str
) -> None:
    def biased(module: torch.nn.Module, *args: object) -> formats.Run:
        run = plain(module, *args)
        return lambda images: run(images) + np.float32(2e-4)

    plain = getattr(formats, f"_{form}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, f"_{form}", biased)
        model, path = tuner.load(trained), tmp_path / f"model.{form}"
        with pytest.raises(TunerError, match=r"on 16 real images .* more than 0\.0001"):
            model.export(form, path, trained / "examples.safetensors")
    assert not path.exists()


def test_weights_that_are_not_those_of_the_training_are_noticed(
    trained: Path, tmp_path: Path
) -> None:
    model = tuner.load(trained)
    with torch.no_grad():
        next(model.module.network.parameters()).mul_(1.5)
    with pytest.raises(TunerError, match="the network with its weights differs from"):
        model.export("pt2", tmp_path / "model.pt2", trained / "examples.safetensors")
    known = load_file(trained / "examples.safetensors")
    save_file(known | {"outputs": known["outputs"] * float("nan")}, tmp_path / "nan.safetensors")
    with pytest.raises(TunerError, match="by up to nan"):
        tuner.load(trained).export("pt2", tmp_path / "model.pt2", tmp_path / "nan.safetensors")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = functools.partial(lambda name: None if name == "onnxruntime" else object())
    monkeypatch.setattr("importlib.util.find_spec", found)
    assert formats.missing("onnx") == ["onnxruntime"]
    assert formats.missing("pt2") == []
