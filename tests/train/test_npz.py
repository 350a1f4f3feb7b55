import functools
import os
import struct
import zipfile

import numpy as np
import pytest
import torch

from tests import recipes
from tests.recipes import CPU, Curve, network, settings, train
from tuner.errors import ConfigError, TunerError
from tuner.train import loss
from tuner.train.data import npz
from tuner.train.data.augment import Augment

SPLIT = {"validation": 0.25, "test": 0.2, "split_seed": 0, "limit": None}
RANDOM = np.random.default_rng(0)
LEVELS = RANDOM.integers(30, 225, (200, 1, 1))
IMAGES = (LEVELS + RANDOM.integers(-30, 31, (200, 8, 8))).astype(np.uint8)
BRIGHTNESS = LEVELS.flatten() / 50 - 2.5


def saved(directory, **arrays) -> functools.partial:
    np.savez(directory / "a b.npz", **arrays)
    parts = SPLIT | {"root": str(directory), "name": "a b.npz"}
    return functools.partial(npz.npz, augment=Augment(), **parts)


def test_classes_are_read_named_and_split_in_proportion(tmp_path):
    labels = np.repeat([0, 1, 2], [40, 60, 100])
    data = saved(tmp_path, images=IMAGES, targets=labels, names=["a", "b", "c"])(CPU)
    assert data.classes == ("a", "b", "c")
    assert data.in_shape == (1, 8, 8)
    assert data.counts(data.test) == [8, 12, 20]
    assert data.counts(data.validation) == [8, 12, 20]
    assert not data.regression


@pytest.mark.parametrize("width", [1, 3])
def test_float_targets_are_numbers_to_be_predicted(tmp_path, width):
    targets = np.stack([BRIGHTNESS] * width, 1) if width > 1 else BRIGHTNESS
    data = saved(tmp_path, images=IMAGES, targets=targets)(CPU)
    assert data.regression
    assert len(data.classes) == width
    assert data.train.labels.shape == (120, width)
    assert data.train.labels.dtype == torch.float32
    assert data.counts(data.train) == []


def test_a_changed_file_is_read_again(tmp_path):
    data = saved(tmp_path, images=IMAGES, targets=BRIGHTNESS)
    first = data(CPU)
    assert data(CPU).train.images is first.train.images
    saved(tmp_path, images=255 - IMAGES, targets=BRIGHTNESS)
    assert torch.equal(data(CPU).train.images, 255 - first.train.images)


LOSSES = {
    "mse": functools.partial(loss.MeanSquaredError, l1=0.0, l2=0.0),
    "l1": functools.partial(loss.AbsoluteError, l1=0.0, l2=0.0),
    "huber": functools.partial(loss.Huber, delta=0.5, l1=0.0, l2=0.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_regression_learns_reports_its_errors_and_resumes(tmp_path, name):
    data = saved(tmp_path, images=IMAGES, targets=BRIGHTNESS)
    change = {
        "data": data, "loss": LOSSES[name], "metric": "mae",
        "model": network(dropout=0.0, width=8), "trainer": settings(epochs=6, batch_size=16),
    }  # fmt: skip
    whole, before, after = Curve(), Curve(leave_in=3), Curve()
    value = train(tmp_path / "whole", whole, **change)
    assert value == whole.points[6]["mae"]
    assert whole.points[6].keys() == {"mse", "mae", "loss", "train_loss"}
    assert value < 0.8 * whole.points[1]["mae"]
    assert not (tmp_path / "whole" / "artifacts").exists(), "there is no confusion to draw"
    with pytest.raises(SystemExit):
        train(tmp_path / "killed", before, **change)
    assert train(tmp_path / "killed", after, **change) == value
    assert before.points | after.points == whole.points


def test_the_metric_and_the_loss_must_be_of_the_targets_kind(tmp_path):
    data = saved(tmp_path, images=IMAGES, targets=BRIGHTNESS)
    with pytest.raises(ConfigError, match=r"metric: accuracy is not .*hint: known: mse, mae, loss"):
        train(tmp_path, Curve(), data=data, loss=LOSSES["mse"])
    with pytest.raises(ConfigError, match="loss: cross_entropy needs class labels"):
        train(tmp_path, Curve(), data=data, metric="mse")
    with pytest.raises(ConfigError, match=r"study\.metric: mse is not .*for class labels"):
        train(tmp_path, Curve(), metric="mse")


OBJECTS = np.array([None] * 200)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "it contains images, but no array targets; hint: np.savez"),
        ({"x": IMAGES, "y": BRIGHTNESS}, "it contains x, y, but no array images; hint: np.savez"),
        ({"images": IMAGES[:9], "targets": BRIGHTNESS}, "save one target per image"),
        ({"images": IMAGES.T, "targets": BRIGHTNESS}, r"hint: np\.moveaxis\(images, -1, 0\)"),
        (
            {"images": IMAGES / 255, "targets": BRIGHTNESS},
            r"images float64\[200, 8, 8\]; hint: .*255",
        ),
        ({"images": IMAGES > 9, "targets": BRIGHTNESS}, r"images bool.*astype\(np\.uint8\) \* 255"),
        (
            {"images": IMAGES.astype("u2") * 257, "targets": BRIGHTNESS},
            r"images uint16.*; hint: .*scaled",
        ),
        (
            {"images": IMAGES[0], "targets": BRIGHTNESS[:8]},
            r"images uint8\[8, 8\]; hint: .*n, H, W",
        ),
        ({"images": OBJECTS, "targets": BRIGHTNESS}, r"images contain Python objects.*np\.stack"),
        ({"images": IMAGES, "targets": OBJECTS}, r"targets contain Python objects.*tolist"),
        (
            {"images": IMAGES, "targets": BRIGHTNESS, "names": OBJECTS},
            "names contain Python objects",
        ),
        ({"images": IMAGES, "targets": np.arange(200) - 1}, "classes must not be negative; hint: "),
        ({"images": IMAGES, "targets": np.arange(200) % 3, "names": ["a"]}, "1 names for 3"),
    ],
)
def test_what_is_no_such_archive_is_named(tmp_path, arrays, message):
    data = saved(tmp_path, **arrays)
    for read in (lambda: data(CPU), lambda: npz.overview(root=str(tmp_path), name="a b.npz")):
        with pytest.raises(TunerError, match=rf"a b\.npz: .*{message}"):
            read()


def test_channels_may_come_first(tmp_path):
    images = RANDOM.integers(0, 256, (200, 3, 9, 8)).astype(np.uint8)
    read = saved(tmp_path, images=images, targets=np.arange(200) % 3)
    assert npz.overview(root=str(tmp_path), name="a b.npz").in_shape == (3, 9, 8)
    assert read(CPU).in_shape == (3, 9, 8)
    arrays = npz.read(tmp_path / "a b.npz")
    assert (arrays.images == images.transpose(0, 2, 3, 1)).all()
    assert arrays.images.flags.c_contiguous


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    """An array as NumPy writes it, with a header of one's own."""
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + content


PLAIN = "{'descr': '|u1', 'fortran_order': False, 'shape': (200, 8, 8), }\n"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (npy("{'descr': '|u1', 'shape': ((((("), "it is damaged"),
        (npy("(" * 5000), "it is damaged"),
        (npy(PLAIN.replace("|u1", "|u")), "it is damaged"),
        (npy(PLAIN, bytes(12800), version=9), "it is damaged"),
        (b"no array", "it is damaged"),
        (npy(PLAIN, b"too short"), "the length of images contradicts"),
        (npy(PLAIN.replace("200", str(10**15))), "the length of images contradicts"),
        (npy(PLAIN.replace("200", "-1"), bytes(64)), "the length of images contradicts"),
    ],
    ids=["cut", "nested", "type", "version", "none", "short", "huge", "negative"],
)
@pytest.mark.parametrize("name", ["images", "targets"])
def test_a_broken_header_names_the_file(tmp_path, written, message, name):
    data = saved(tmp_path, images=IMAGES, targets=BRIGHTNESS)
    contents = {"images": npy(PLAIN, bytes(12800)), "targets": npy(PLAIN, bytes(12800))}
    with zipfile.ZipFile(tmp_path / "a b.npz", "w") as file:
        for array, content in (contents | {name: written}).items():
            file.writestr(f"{array}.npy", content)
    message = message.replace("images", name)
    for read in (lambda: data(CPU), lambda: npz.overview(root=str(tmp_path), name="a b.npz")):
        with pytest.raises(TunerError, match=rf"a b\.npz.*: {message}.*; hint: "):
            read()


def test_a_single_array_or_no_file_at_all_is_no_archive(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(
        TunerError, match=r"a\.npz cannot be read: it is damaged, or not a NumPy archive"
    ):
        npz.overview(root=str(tmp_path), name="a.npz")
    os.mkfifo(tmp_path / "b.npz")
    with pytest.raises(TunerError, match=r"b\.npz: is not a regular file; hint: "):
        npz.overview(root=str(tmp_path), name="b.npz")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    data = saved(tmp_path, images=IMAGES, targets=BRIGHTNESS)
    path = tmp_path / "a b.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(TunerError, match=r"a b\.npz cannot be read"):
        data(CPU)
    path.unlink()
    with pytest.raises(TunerError, match=r"a b\.npz: file not found; hint: data\.root=DIR"):
        data(CPU)


def test_classes_of_an_archive_train_as_any_others(tmp_path):
    digits = recipes.digits(limit=None)
    arrays = {"images": digits.train.images.numpy(), "targets": digits.train.labels.numpy()}
    plain = saved(tmp_path, **arrays)
    value = train(tmp_path, Curve(), data=plain, model=network(width=8))
    assert value > 0.5


def test_a_run_is_not_resumed_on_other_data(tmp_path):
    labels = np.repeat([0, 1], 100)
    data = saved(tmp_path, images=IMAGES, targets=labels)
    train(tmp_path / "run", Curve(), data=data, trainer=settings(epochs=1))
    changed = saved(tmp_path, images=255 - IMAGES, targets=labels)
    with pytest.raises(ConfigError, match=r"belongs to another configuration: data\.fingerprint"):
        train(tmp_path / "run", Curve(), data=changed, trainer=settings(epochs=1))
    same = saved(tmp_path, images=IMAGES, targets=labels)  # another time, the same bytes
    train(tmp_path / "run", Curve(), data=same, trainer=settings(epochs=1))
