import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recipes import CPU
from tuner.errors import ConfigError, TunerError
from tuner.train.data import image_files, image_listing
from tuner.train.data.augment import Augment
from tuner.train.data.image_folder import folder

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
    files = image_listing.find(root).files
    alone, together = (image_files.read(files, 8, 3, workers) for workers in (0, 2))
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
    monkeypatch.setattr(image_files, "_decoded", dies)
    with pytest.raises(
        TunerError, match=r"a process that decodes images died; hint: .*data\.workers=1"
    ):
        images(root, workers=2)


def test_a_size_of_none_is_refused(root):
    with pytest.raises(ConfigError, match=r"data\.size: expected int of 1 or more, got 0"):
        images(root, size=0)


def test_a_fingerprint_is_of_names_and_sizes(root, tmp_path):
    def found() -> str:
        return image_files.fingerprint(root, image_listing.find(root).files)

    first = found()
    os.utime(root / "green" / "1.png", (0, 0))
    assert found() == first, "a copy on another machine has other times"
    Image.new("RGB", (8, 99), (0, 200, 0)).save(root / "green" / "1.png")
    assert found() != first


def test_a_file_name_need_not_be_utf8(root):
    name = os.fsencode(root / "green") + b"/caf\xe9.png"
    Image.new("RGB", (8, 16), COLOURS["green"]).save(os.fsdecode(name), "PNG")
    found = images(root)
    assert sum(len(split) for split in (found.train, found.validation, found.test)) == 21
    assert len(found.fingerprint) == 16


def test_what_terminals_obey_is_written_out_in_names(root):
    (root / "green" / "\x1b[31m\r.png").write_bytes(b"")
    with pytest.raises(TunerError) as raised:
        images(root)
    assert r"green/\x1b[31m\r.png cannot be read as an image: its format is not one of" in str(
        raised.value
    )


@pytest.mark.parametrize("suffix", ["jfif", "webp", "avif", "apng", "jp2", "PBM"])
def test_every_format_is_read_by_its_suffix(root, suffix):
    known = Image.registered_extensions()[f".{suffix.lower()}"]
    Image.new("RGB", (8, 16), COLOURS["green"]).save(root / "green" / f"x.{suffix}", known)
    files = image_listing.find(root).classes["green"]
    (pixels,) = image_files.read([files[-1]], 8, 3, 0)
    assert files[-1].name == f"x.{suffix}"
    assert pixels.shape == (8, 8, 3)


def test_a_file_is_examined_again_only_once_it_has_changed(root, monkeypatch):
    file = root / "green" / "1.png"
    first = image_files.examine(file, 3)
    with monkeypatch.context() as patch:
        patch.delattr(image_files.resize, "opened")
        assert image_files.examine(file, 3) is first
    Image.new("L", (8, 16)).save(file)
    assert image_files.examine(file, 3) == ("grey to RGB",)


def test_formats_that_other_programs_read_are_refused(root):
    Image.new("RGB", (8, 16)).save(root / "green" / "0.BMP", "EPS")
    with pytest.raises(
        TunerError, match=r"0\.BMP cannot be read as an image: its format is not one of"
    ):
        images(root)


@pytest.mark.parametrize(("bits", "is_told"), [(12, True), (16, False)])
def test_images_that_are_almost_black_are_warned_of(tmp_path, caplog, bits, is_told):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        levels = np.linspace(0, 2**bits - 1, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(levels).save(tmp_path / name / "0.png")
    files = image_listing.find(tmp_path).files
    words = image_files.examine(files[0], 3)
    assert words == ("16 bits to 8", "grey to RGB", *[image_files.DARKNESS][: int(is_told)])
    with caplog.at_level("WARNING", "tuner"):
        image_files.read(files, 8, 1, 0)
    assert caplog.text.count("2 of 2 images have no grey level above 15 of 255") == int(is_told)
