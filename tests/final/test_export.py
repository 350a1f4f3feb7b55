"""`tuner export` of a trained winner, and `tuner predict` with the result."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState
from PIL import Image

from tests import recipes
from tests.recipes import Curve, settings, train
from tests.samples import add, final_record, new_study
from tuner.cli import main
from tuner.config.composition import Source
from tuner.errors import TunerError
from tuner.final import export
from tuner.report.analysis.intervals import wilson
from tuner.report.configurations import Row
from tuner.report.summary import Summary, summarise
from tuner.train.export import formats

OVERRIDES = ["data.root=/home/me/data", "storage.url=sqlite:///x.db", "optimizer.lr=0.1", "seed=7"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as `tuner final` leaves it."""
    directory = tmp_path_factory.mktemp("final")
    train(directory / "seed-0", Curve(), trainer=settings(protocol="final", epochs=1))
    final = final_record(
        seeds=[0, 1], values=[0.5, 0.75], mean=0.625, sd=0.177, interval=[-0.96, 2.2],
        overrides=OVERRIDES[:3],
    )  # fmt: skip
    (directory / "final.json").write_text(json.dumps(final))
    return directory


def winner(directory: Path) -> tuple[Summary, Row]:
    (base := directory / f"study {len(list(directory.iterdir()))}").mkdir()
    study = new_study(base)
    study.set_user_attr("git_commit", "0123abc")
    study.set_user_attr("versions", {"python": "3.12", "torch": "2.9"})
    add(study, TrialState.COMPLETE, [0.5, 0.9], overrides=OVERRIDES)
    found = summarise(study)
    assert found.best is not None
    return found, found.best


def write(final: Path, directory: Path, *forms: str, trust: bool = False) -> dict[str, Path]:
    out = directory / "export"
    out.mkdir(exist_ok=True)
    paths = export.write_model(*winner(directory), final, out, forms, trust=trust)
    return {path.name: path for path in paths}


def test_the_card_tells_what_was_trained_on_what_and_how_well(
    trained: Path, tmp_path: Path
) -> None:
    found = write(trained, tmp_path, "pt2")
    assert set(found) == {"model.safetensors", "model.json", "model.pt2", "README.md"}
    card = found["README.md"].read_text()
    scored, learned = len(recipes.digits().test), 225 + 75
    for part in (
        "8 x 8 pixels",
        "0.6 ± 0.2, 95 % interval of the mean 0.0 to 1.0 (Student)",
        f"tested on | {scored} images",
        f"trained on | {learned} images",
        "split | `validation 0.25, test 0.2, split_seed 0, limit 300",
        "augmentation | shift 1, flip true, cutout 2",
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "git commit | 0123abc",
        "python 3.",
        "| `model.pt2` | torch.export;",
        "uint8 [batch, 8, 8, 1]",
        "tuner train data.root=DIR optimizer.lr=0.1 seed=0\n",
        "## Intended use",
    ):
        assert part in card
    assert "trust" not in card
    assert "/home/me" not in card
    assert "sqlite" not in card
    assert all(len(line.split("|")) == 4 for line in card.splitlines() if line.startswith("|"))


def test_the_card_of_a_network_of_ones_own_tells_that_it_takes_trust(
    trained: Path, tmp_path: Path
) -> None:
    final = Path(shutil.copytree(trained, tmp_path / "final"))
    kept = final / "seed-0" / "model.json"
    model = json.loads(kept.read_text())
    model["recipe"]["model"] = "mine.net"
    kept.write_text(json.dumps(model))
    card = write(final, tmp_path)["README.md"].read_text()
    for part in ('"this/directory", trust=True)', "this/directory --trust *.png", "by `mine.net`"):
        assert part in card


def test_a_model_of_a_study_that_lay_there_before_is_not_taken_for_this_ones(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    final = Path(shutil.copytree(trained, tmp_path / "final"))
    told = json.loads((final / "final.json").read_text())
    for number, written in ((0, True), (5, False)):
        (final / "final.json").write_text(json.dumps(told | {"number": number}))
        assert ("model.safetensors" in write(final, tmp_path)) == written
    assert "no trained model yet; hint: run `tuner final`" in caplog.text
    assert not (tmp_path / "export" / "model.safetensors").exists()


def test_the_files_of_an_earlier_winner_do_not_stay(trained: Path, tmp_path: Path) -> None:
    write(trained, tmp_path, "pt2")
    (tmp_path / "export" / "model.onnx").write_text("of an earlier winner")
    assert "model.pt2" not in write(trained, tmp_path)
    assert not list((tmp_path / "export").glob("model.[po]*"))


def test_an_extra_that_is_missing_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(formats.NEEDED, "onnx", ("onnxruntime_is_not_here",))
    assert "model.onnx" not in write(trained, tmp_path, "pt2", "onnx")
    assert "model.onnx needs onnxruntime_is_not_here; hint: pip install" in caplog.text
    with pytest.raises(TunerError, match=r"model\.onnx needs"):
        write(trained, tmp_path, "onnx")


def test_without_a_trained_model_the_hint_is_to_train_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert write(tmp_path / "none", tmp_path, "pt2") == {}
    assert "tuner final" in caplog.text


def test_weights_of_an_objective_of_the_users_own_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "final" / "seed-0").mkdir(parents=True)
    (tmp_path / "final" / "seed-0" / "model.safetensors").write_text("mine")
    assert set(write(tmp_path / "final", tmp_path, "pt2")) == {"model.safetensors"}


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.0, 10, 0.0, 0.2775), (0.5, 100, 0.4038, 0.5962), (1.0, 360, 0.9894, 1.0)],
)
def test_wilsons_interval(share: float, count: int, low: float, high: float) -> None:
    assert wilson(share, count) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for k, image in enumerate(recipes.digits().test.images[:3].numpy()):
        Image.fromarray(image[..., 0]).resize((50 + k, 40)).save(tmp_path / f"{k} a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str], str]:
    code = main(["predict", *args])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_predict_tells_each_image_in_a_line(
    trained: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(trained / "seed-0")
    code, lines, err = predict(capsys, model, "0 a.png", "1 a.png", "--top", "2", "2 a.png")
    assert (code, err) == (0, "loading the model …\n")
    assert [line[:7] for line in lines] == ["0 a.png", "1 a.png", "2 a.png"]
    assert all(line.count("%") == 2 for line in lines)
    code, lines, _ = predict(capsys, model, "--json", "0 a.png")
    told: dict[str, Any] = json.loads(lines[0])
    assert told["image"] == "0 a.png"
    assert told["probability"] == max(told["scores"].values())
    assert sum(told["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_an_image_that_cannot_be_read_does_not_stop_the_others(
    trained: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "b.png").write_text("none")
    code, lines, err = predict(capsys, str(trained / "seed-0"), "0 a.png", "b.png", "1 a.png")
    assert code == 1
    assert [line[:7] for line in lines] == ["0 a.png", "1 a.png"]
    assert "error: b.png cannot be read" in err


def test_predict_needs_a_model_and_images(
    trained: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(capsys, str(trained / "seed-0"))[0] == 2
    code, _, err = predict(capsys, str(pictures), "0 a.png")
    assert code == 1
    assert "contains no model" in err
    shutil.copytree(trained / "seed-0", pictures / "broken")
    (pictures / "broken" / "model.safetensors").write_bytes(b"\0" * 100)
    assert "contains no model" in predict(capsys, str(pictures / "broken"), "0 a.png")[2]


def test_numbers_are_told_by_name(
    trained: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "seed-0", pictures / "numbers")
    card = json.loads((pictures / "numbers" / "model.json").read_text())
    (pictures / "numbers" / "model.json").write_text(json.dumps(card | {"regression": True}))
    code, (line,), _ = predict(capsys, str(pictures / "numbers"), "0 a.png")
    assert code == 0
    assert len(line.split()) == 2 + 2 * 10
    assert np.isfinite(float(line.split()[-1]))


def test_the_resolved_configuration_has_no_interpolations_and_no_secrets(tmp_path: Path) -> None:
    words = ["data=fashion_mnist", "data.root='http://me:secret@host/a'"]
    _, resolved, _ = export.write(Source(), words, tmp_path)
    kept = yaml.safe_load(resolved.read_text())
    assert kept["data"]["root"] == "http://me:***@host/a"
    assert "${" not in resolved.read_text()
