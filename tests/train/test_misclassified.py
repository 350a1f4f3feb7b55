"""The sheet of misclassified images shows these and no others."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import recipes
from tests.recipes import Curve, digits, settings, train
from tuner.train import misclassified
from tuner.train.data.tensors import Split
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.misclassified import Mistake


class Reads(torch.nn.Module):
    """Takes every image for class 3, with more confidence the brighter it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), 10)
        logits[:, 3] = 3 + images.mean((1, 2, 3))
        return logits + self.weight


def learner(**changes: object) -> Learner:
    data = digits()
    loss = CrossEntropy(data.counts(data.train), **recipes.LOSS)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    return Learner(Reads(), adam, lambda _: 1.0, loss, data, settings(**changes))


def test_the_most_confident_come_first_and_the_right_ones_not_at_all() -> None:
    reader = learner(eval_batch_size=7)
    split = reader.data.validation
    found = misclassified.find(reader, split)
    assert len(found) == misclassified.SHOWN
    assert {m.predicted for m in found} == {"3"}
    assert "3" not in {m.truth for m in found}
    assert [m.probability for m in found] == sorted((m.probability for m in found), reverse=True)
    brightness = split.images.float().mean((1, 2, 3))[split.labels != 3].max()
    assert found[0].image.mean() == pytest.approx(float(brightness))


def test_nothing_wrong_leaves_nothing(tmp_path) -> None:
    reader = learner()
    split = reader.data.validation
    right = Split(split.images, torch.full_like(split.labels, 3))
    misclassified.write(tmp_path, reader, right)
    assert not (tmp_path / "artifacts").exists()


def test_few_mistakes_leave_a_low_sheet(tmp_path) -> None:
    reader = learner()
    split = reader.data.validation
    labels = torch.full_like(split.labels, 3)
    labels[5] = 8
    misclassified.write(tmp_path, reader, Split(split.images, labels))
    with Image.open(tmp_path / "artifacts" / "mistakes.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size[1] < 200
        colours = sheet.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert any(red > 150 > 100 > green for _, (red, green, _) in colours)  # what it was taken for


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 20, 3), (300, 224, 3), (6, 6, 2), (5, 5, 4)])
def test_images_of_any_shape_are_shown_and_long_names_cut(shape: tuple[int, ...]) -> None:
    name = "a very long name\x00 of a class that fits into no line 犬"
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    sheet = misclassified.sheet([Mistake(image, name, name, 1.0)] * 7)
    assert sheet.width == misclassified.GAP + misclassified.COLUMNS * (
        misclassified.TILE + misclassified.GAP
    )
    drawn = np.asarray(sheet.getchannel("A"))
    assert (drawn[:, -misclassified.GAP + 1 :] == 0).all(), "no text runs over the edge"
    assert drawn[0, 0] == 0, "the page shines through, whether it is light or dark"


def test_a_search_leaves_a_sheet_and_a_final_training_does_not_show_its_test_images(
    tmp_path,
) -> None:
    one = settings(epochs=1)
    train(tmp_path / "search", Curve(), trainer=one)
    assert (tmp_path / "search" / "artifacts" / "mistakes.png").is_file()
    train(tmp_path / "final", Curve(), trainer=replace(one, protocol="final"))
    assert not (tmp_path / "final" / "artifacts" / "mistakes.png").exists()


def test_a_picture_is_not_worth_a_trial(tmp_path, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError("no room for a picture")

    monkeypatch.setattr(misclassified, "write", fails)
    assert train(tmp_path, Curve(), trainer=settings(epochs=1)) > 0
