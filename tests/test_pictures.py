import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recipes import CPU
from tuner.errors import ConfigError, TunerError
from tuner.train import pictures
from tuner.train.augment import Augment
from tuner.train.folder import folder

COLOURS = {"a red": (200, 0, 0), "green": (0, 200, 0)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images a class, higher than wide, with a border that the cut takes away."""
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for number in range(10):
            image = Image.new("RGB", (8, 16), colour)
            image.paste((255, 255, 255), (0, 0, 8, 2))
            image.save(tmp_path / name / f"{number}.{'png' if number % 2 else 'BMP'}")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "green" / "notes.txt").write_text("no image")
    return tmp_path


def images(root: Path, **changes):
    settings = {"size": 8, "channels": 3, "workers": 0, "validation": 0.25, "test": 0.2,
                "split_seed": 0, "limit": None, "augment": Augment()} | changes  # fmt: skip
    return folder(CPU, root=str(root), **settings)


def test_classes_are_directories_and_images_their_middles(root):
    found = images(root)
    assert found.classes == ("a red", "green")
    assert found.in_shape == (3, 8, 8)
    assert [len(split) for split in (found.train, found.validation, found.test)] == [12, 4, 4]
    for image, label in zip(found.train.images, found.train.labels, strict=True):
        assert (image == image.new_tensor(list(COLOURS.values())[label])).all()


def test_images_may_be_grey(root):
    found = images(root, channels=1)
    assert found.in_shape == (1, 8, 8)
    assert set(found.train.images.unique().tolist()) == {60, 117}, "ITU-R 601 luma"


def test_processes_read_the_same(root):
    files = [file for files in pictures.find(root).values() for file in files]
    alone, together = (pictures.read(files, 8, 3, workers) for workers in (0, 2))
    assert np.array_equal(alone, together)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(root, workers):
    (root / "green" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(TunerError, match=r"green/3\.png cannot be read as an image: .*hint"):
        images(root, workers=workers)


def test_half_an_image_is_named(root):
    path = root / "a red" / "0.BMP"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TunerError, match=r"a red/0\.BMP cannot be read"):
        images(root)


def dies(file, size, channels):
    os._exit(9)  # as the kernel does to a process that takes too much memory


def test_a_dead_data_worker_is_named(root, monkeypatch):
    monkeypatch.setattr(pictures, "_decoded", dies)
    with pytest.raises(TunerError, match=r"a data worker died .*hint: .*data\.workers=1"):
        images(root, workers=2)


def test_an_empty_class_is_named(root, tmp_path):
    (tmp_path / "blue").mkdir()
    with pytest.raises(TunerError, match=r"no image in blue .*hint"):
        images(root)


def test_a_root_without_classes_is_named(tmp_path):
    with pytest.raises(TunerError, match=r"data\.root=.*nowhere: 0 classes"):
        images(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"data\.size: expected int of 1 or more, got 0"):
        images(tmp_path, size=0)


def test_a_fingerprint_is_of_names_and_sizes(root, tmp_path):
    def found() -> str:
        files = [file for of_class in pictures.find(root).values() for file in of_class]
        return pictures.fingerprint(root, files)

    first = found()
    os.utime(root / "green" / "1.png", (0, 0))
    assert found() == first, "a copy on another machine has other times"
    Image.new("RGB", (8, 99), (0, 200, 0)).save(root / "green" / "1.png")
    assert found() != first
