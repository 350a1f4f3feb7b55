"""What ``tuner check`` says of the data before anything is trained."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests import recipes
from tuner.errors import ConfigError
from tuner.train import loss, preflight
from tuner.train.data import image_folder, npz
from tuner.train.data.augment import Augment
from tuner.train.optim import parameter_groups

SPLIT = {"validation": 0.25, "test": 0.2, "split_seed": 0, "limit": None, "augment": Augment()}


def facts(source, **keywords) -> dict[str, str]:
    return dict(
        preflight.check(
            data=functools.partial(source, **SPLIT | keywords),
            model=recipes.network(),
            optimizer=functools.partial(torch.optim.SGD, lr=0.1),
            schedule=functools.partial(parameter_groups.cosine, final=0.0),
            loss=functools.partial(loss.CrossEntropy, **recipes.LOSS),
            trainer=recipes.settings(),
            metric="accuracy",
        )
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty dogs for five cats, some of which are not as the others."""
    for number in range(25):
        path = tmp_path / ("cat" if number < 5 else "dog") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("LA" if number < 2 else "RGB", (9, 9)).save(path)
    (tmp_path / "dog" / ".DS_Store").touch()
    (tmp_path / "dog" / "notes.txt").touch()
    return tmp_path


def test_a_folder_is_described(photos):
    found = facts(image_folder.folder, root=str(photos), size=8, channels=3, workers=0)
    assert found == {
        "data": "8x8x3, 2 classes: 15 for training, 5 for validation, 5 held out",
        "classes": "cat: 5, dog: 20",
        "opened": "15 of 25 files, up to 16 a class",
        "converted": "grey to RGB: 2, transparency to white: 2",
        "skipped": "*.txt: 1, hidden: 1",
        "imbalance": "warning: the largest class has 4 times the images of the smallest;"
        " data.balanced=true visits all equally often",
        "validation_examples": 5,
    }


def test_almost_black_images_are_warned_of(photos):
    for path in photos.rglob("*.png"):
        Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(path)
    found = facts(image_folder.folder, root=str(photos), size=8, channels=3, workers=0)
    assert found["dark"].startswith("warning: 15 of them have no grey level above 15 of 255")


def test_what_is_balanced_or_even_is_not_warned_of(photos):
    asked = {"root": str(photos), "size": 8, "channels": 3, "workers": 0}
    assert "imbalance" not in facts(image_folder.folder, balanced=True, **asked)
    for number in range(10, 25):
        (photos / "dog" / f"{number}.png").unlink()
    assert "imbalance" not in facts(image_folder.folder, **asked)


def test_of_many_classes_the_smallest_and_the_largest_are_told(tmp_path):
    targets = np.concatenate([np.repeat(np.arange(30), 4), [29] * 3])
    images = np.zeros((len(targets), 1, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, targets=targets + 1)
    found = facts(npz.npz, root=str(tmp_path), name="a.npz", validation=0.4, test=0.3)
    assert found["classes"] == "from 1: 4 to 30: 7"
    assert found["targets"] == "numbers from 1 to 30, converted to classes"
    assert found["converted"] == "channels first to last"


def test_float_labels_meet_a_hint_that_whole_numbers_are_classes(tmp_path):
    images = np.zeros((40, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, targets=np.arange(40) % 2 * 1.0)
    with pytest.raises(ConfigError, match=r"hint: .*or save integer targets for classification"):
        facts(npz.npz, root=str(tmp_path), name="a.npz")


def test_settings_that_several_devices_exclude_are_refused_before_any_training() -> None:
    found = recipes.settings(devices=2, fused=4, batch_size=33).mistakes()
    assert [mistake.key for mistake in found] == ["trainer.batch_size", "trainer.devices"]
    assert recipes.settings(devices=1, fused=4).mistakes() == []
