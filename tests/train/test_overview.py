"""Data sets are validated before anything runs: files exist and can be split."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import recipes
from tests.train.test_torchvision_files import idx, mnist_files
from tuner.errors import ConfigError, TunerError
from tuner.train.data import dataset, image_folder, npz, torchvision_files
from tuner.train.data.overview import Overview

SPLIT = {"validation": 0.25, "test": 0.2, "split_seed": 0, "limit": None}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_mnist_is_seen_in_either_place(tmp_path, packed, below):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name, content in mnist_files().items():
        path = tmp_path / below / f"{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
    found = torchvision_files.overview(name="FashionMNIST", root=str(tmp_path))
    assert found == Overview((1, 28, 28), tuple("0123456789"), 40, (4,) * 10, test=40)
    assert found.parts(validation=0.25, limit=None) == (30, 10, 40)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"<html>", "is not an idx file of bytes: it does not begin"),
        (
            "train-images-idx3-ubyte",
            mnist_files()["train-images-idx3-ubyte"][:-5],
            "does not con",
        ),
        ("train-images-idx3-ubyte", b"", "is not an idx file of bytes"),
        ("train-labels-idx1-ubyte", idx(np.zeros(39, np.uint8)), "40 images but 39 labels"),
        ("train-labels-idx1-ubyte", idx(np.full(40, 10, np.uint8)), "labels 10 to 10 for 10"),
        ("t10k-labels-idx1-ubyte", None, "is missing"),
        ("t10k-images-idx3-ubyte", None, "MNIST is not in data.root="),
    ],
)
def test_damaged_mnist_files_are_named(tmp_path, file, content, message):
    for name, whole in (mnist_files() | {file: content}).items():
        if whole is not None:
            (tmp_path / name).write_bytes(whole)
    with pytest.raises(TunerError, match=message):
        torchvision_files.overview(name="MNIST", root=str(tmp_path))


def test_the_look_at_digits_is_true():
    found = recipes.digits(limit=None)
    seen = dataset.digits.overview()
    parts = (found.train, found.validation, found.test)
    assert seen.parts(validation=0.25, test=0.2, limit=None) == tuple(map(len, parts))
    assert seen.in_shape == found.in_shape
    counts = np.sum([found.counts(part) for part in parts], axis=0)
    assert tuple(counts) == seen.counts


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_is_seen_without_its_images(tmp_path, packed):
    save = np.savez_compressed if packed else np.savez
    save(tmp_path / "a.npz", images=np.zeros((6, 8, 9, 3), np.uint8), targets=[0, 0, 0, 1, 1, 1])
    found = npz.overview(root=str(tmp_path), name="a.npz")
    assert dataclasses.replace(found, told={}) == Overview((3, 8, 9), ("0", "1"), 6, (3, 3))
    save(tmp_path / "b.npz", images=np.zeros((6, 8, 9), np.uint8), targets=np.zeros((6, 2)))
    found = npz.overview(root=str(tmp_path), name="b.npz")
    assert dataclasses.replace(found, told={}) == Overview((1, 8, 9), ("0", "1"), 6)
    with pytest.raises(TunerError, match=r"file not found; hint: data\.root=DIR"):
        npz.overview(root=str(tmp_path), name="c.npz")
    np.savez(tmp_path / "d.npz", images=np.zeros((6, 8, 9)), targets=np.zeros(6, int))
    with pytest.raises(TunerError, match="hint: images are uint8"):
        npz.overview(root=str(tmp_path), name="d.npz")


def test_a_folder_is_seen_by_the_headers_of_a_sample(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(40):
            Image.new("L", (5, 6 + number)).save(tmp_path / name / f"{number:02}.png")
    found = image_folder.overview(root=str(tmp_path), size=4, channels=1)
    told = {
        "opened": "28 of 80 files, up to 16 a class",
        "converted": "",
        "skipped": "",
        "dark": "",
    }
    assert found == Overview((1, 4, 4), ("a", "b"), 80, (40, 40), told=told)
    (tmp_path / "b" / "39.png").write_bytes(b"no image")
    with pytest.raises(TunerError, match=r"39\.png cannot be read as an image"):
        image_folder.overview(root=str(tmp_path), size=4, channels=1)


@pytest.mark.parametrize(
    "change", [{"validation": 0.001}, {"test": 0.999}, {"limit": 4}, {"limit": 11}]
)
def test_a_look_refuses_the_splits_that_the_reading_refuses(change):
    with pytest.raises(ConfigError) as read:
        recipes.digits(**SPLIT | change)
    with pytest.raises(ConfigError) as seen:
        dataset.digits.overview().parts(**SPLIT | change)
    key = str(read.value).split(" ")[0]
    assert str(seen.value).startswith(key)
