"""Any image is converted to the format that a network was trained on."""

import numpy as np
import pytest
from PIL import Image

from tuner.train.fitting import fitted

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_any_mode_gives_bytes_of_the_size_that_is_wanted(mode: str, channels: int) -> None:
    found = fitted(Image.new(mode, (30, 50)), (12, 8), channels)
    assert (found.shape, found.dtype) == ((8, 12, channels), np.uint8)


def test_the_shorter_side_is_scaled_and_the_middle_cut_out() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = (255, 0, 0)
    found = fitted(Image.fromarray(image), (10, 10), 3)
    assert (found == (255, 0, 0)).all()


def test_what_is_transparent_is_white() -> None:
    for image in (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), Image.new("LA", (4, 4), (9, 0))):
        assert (fitted(image, (4, 4), 1) == 255).all()
    palette = Image.new("P", (4, 4))
    palette.info["transparency"] = bytes([0])
    assert (fitted(palette, (4, 4), 3) == 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_become_eight(dtype: type) -> None:
    levels = np.array([[0, 257], [32896, 65535]], dtype)
    assert fitted(Image.fromarray(levels), (2, 2), 1)[..., 0].tolist() == [[0, 1], [128, 255]]


def test_an_image_of_the_right_size_keeps_its_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 6), np.uint8)
    assert (fitted(Image.fromarray(image), (6, 8), 1)[..., 0] == image).all()
