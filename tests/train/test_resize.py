"""Any image is converted to the format that a network was trained on."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tuner.errors import TunerError
from tuner.train.data.resize import conversions, fitted, opened

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


RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def written(image: Image.Image, form: str = "PNG", **options: Any) -> io.BytesIO:
    """As a file: what Pillow knows of an image differs from what it reads of one."""
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def seen(file: io.BytesIO, channels: int = 1) -> np.ndarray:
    with Image.open(file) as image:
        return fitted(image, (8, 8), channels)[..., 0]


def words(file: io.BytesIO, channels: int = 3) -> list[str]:
    with Image.open(file) as image:
        return list(conversions(image, channels))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_data_say(form: str, orientation: int) -> None:
    upright = np.zeros((8, 8), np.uint8)
    upright[:4] = 200
    upright[:4, :4] = 100
    turns = [
        lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, np.transpose,
        np.rot90, lambda a: np.rot90(a, 2).T, lambda a: np.rot90(a, 3),
    ]  # fmt: skip
    stored = np.ascontiguousarray(turns[orientation - 1](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    file = written(Image.fromarray(stored).convert("RGB"), form, exif=exif, **options)
    assert (seen(file) == upright).all()
    assert words(file) == ["rotated by EXIF"] * (orientation > 1)


def test_the_pixels_of_a_png_are_not_decoded_to_tell_what_is_done() -> None:
    with Image.open(written(Image.fromarray(RAMP).convert("RGB"))) as image:
        image.load = None  # type: ignore[method-assign, assignment]
        assert list(conversions(image, 1)) == ["colours to grey"]


def test_damaged_exif_data_damage_no_pixel() -> None:
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01", b"Exif\0\0II*\0", b"\xff" * 40):
        assert (seen(written(Image.fromarray(RAMP), exif=exif)) == RAMP).all()


@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_floats_from_0_to_1_are_all_grey_levels(form: str) -> None:
    file = written(Image.fromarray(RAMP / np.float32(255)), form)
    assert (seen(file) == RAMP).all()
    assert words(file) == ["floats to 8 bits", "grey to RGB"]


@pytest.mark.parametrize(
    "levels", [RAMP.astype(np.float32), -(RAMP / np.float32(255)), np.full((8, 8), np.nan, "f"),
               RAMP.astype(np.int32) - 1, RAMP.astype(np.int32) * 1000]
)  # fmt: skip
def test_grey_levels_beyond_are_refused(levels: np.ndarray, tmp_path) -> None:
    Image.fromarray(levels).save(tmp_path / "a.tif")
    message = rf"a\.tif: its pixels are {levels.dtype} from .*; hint: "
    with pytest.raises(TunerError, match=message), opened(tmp_path / "a.tif") as image:
        fitted(image, (8, 8), 1)


def test_sixteen_bits_of_files_become_eight() -> None:
    levels = RAMP.astype(np.uint16) * 257
    for form in ("PNG", "TIFF", "JPEG2000"):
        assert (seen(written(Image.fromarray(levels), form)) == RAMP).all()
    assert words(written(Image.fromarray(levels))) == ["16 bits to 8", "grey to RGB"]
    white_is_0 = written(Image.fromarray(levels), "TIFF", tiffinfo={262: 0})
    assert (seen(white_is_0) == 255 - RAMP).all()


def test_a_colour_that_is_transparent_is_white() -> None:
    for image, clear in (
        (Image.fromarray(RAMP), 0),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), 128 * 257),
        (Image.fromarray(RAMP).convert("RGB"), (128, 128, 128)),
        (Image.fromarray(RAMP).convert("P"), bytes([0] + [255] * 255)),
    ):
        file = written(image, transparency=clear)
        hole = 128 if clear in (128 * 257, (128, 128, 128)) else 0
        assert (seen(file) == np.where(hole == RAMP, 255, RAMP)).all()
        assert "transparency to white" in words(file)


def test_of_several_frames_the_first_is_taken() -> None:
    others = [Image.new("L", (8, 8), 255)]
    for form in ("GIF", "PNG", "TIFF"):
        file = written(Image.fromarray(RAMP), form, save_all=True, append_images=others)
        assert (seen(file) == RAMP).all()
        assert "first of several frames" in words(file)


def test_later_frames_are_not_read_and_may_be_missing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    first, *others = map(Image.fromarray, noise)
    for form, part in (("GIF", 0.69), ("TIFF", 0.5)):
        whole = written(first, form, save_all=True, append_images=others).getvalue()
        cut = io.BytesIO(whole[: int(part * len(whole))])
        assert "first of several frames" in words(cut), form


def test_what_is_done_to_an_image_is_told() -> None:
    grey = Image.fromarray(RAMP)
    assert words(written(grey), 1) == []
    assert words(written(grey.convert("RGB"))) == []
    assert words(written(grey.convert("RGB")), 1) == ["colours to grey"]
    assert words(written(grey.convert("RGBA"))) == ["transparency to white"]
    assert words(written(grey.convert("P"))) == ["palette to colours"]
    assert words(written(grey.convert("CMYK"), "JPEG")) == ["CMYK to RGB"]


def test_a_colour_profile_is_told_unless_it_is_the_usual_one() -> None:
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    colours = Image.fromarray(RAMP).convert("RGB")
    assert words(written(colours, icc_profile=usual)) == []
    assert words(written(colours, icc_profile=other)) == ["colour profile ignored"]
    colours.info["icc_profile"] = None  # as Pillow reads one that is damaged
    assert list(conversions(colours, 3)) == []


def chunk(kind: bytes, content: bytes) -> bytes:
    whole = kind + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


def test_colours_of_sixteen_bits_become_eight() -> None:
    """Pillow does not write such a PNG."""
    levels = (RAMP.astype(">u2") * 257)[..., None].repeat(3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts)
    assert (seen(file, 3) == RAMP).all()
    assert words(file) == ["16 bits to 8"]
