"""Convert any image to the format that a network was trained on.

This module does not import torch, so that a decoding process starts at once.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tuner.errors import TunerError
from tuner.log import printable

WANTED = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI")
"""Formats that need no other program to read: Pillow passes EPS to Ghostscript."""
TRANSPARENT = {"RGBA", "LA", "PA", "La", "RGBa"}
GREY = {"1", "L", "LA", "La", "I", "F"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the transposition that makes the image upright."""


@functools.cache
def formats() -> tuple[str, ...]:
    """Return those formats of WANTED that the installed Pillow can read."""
    Image.init()
    return tuple(form for form in WANTED if form in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the file suffixes of these formats, in lower case."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, form in known.items() if form in formats())


@contextmanager
def opened(file: str | PathLike[str]) -> Iterator[Image.Image]:
    """Open an image file, read its header and yield the image.

    Pillow's warnings, which are about metadata, are suppressed.

    Raises:
        TunerError: The file has an error while it is open; the message names the file.
    """
    name, path = printable(str(file), kept=""), Path(file)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("it is a pipe or a device")  # opening it may block forever
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats()) as image:
                yield image
    except TunerError as error:
        raise TunerError([mistake.within(name) for mistake in error.mistakes]) from error
    except Exception as error:  # decoders of a damaged file may raise anything
        raise TunerError(
            f"{name} cannot be read as an image: {_reason(error)}",
            hint="replace or remove it",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose text repeats the name
        return f"its format is not one of {', '.join(formats())}"
    system = isinstance(error, OSError) and error.strerror
    return printable(system or str(error) or type(error).__name__, kept="")


def is_image(file: str) -> bool:
    """Return whether the header is that of an image."""
    try:
        with opened(file):
            return True
    except TunerError:
        return False


def fitted(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return an image as uint8 [height, width, channels], scaled and center-cropped.

    The image is rotated according to its EXIF data, transparent pixels become white, the first of
    several frames is used, and 16 bits, or floats from 0 to 1, are converted to 8 bits.

    Args:
        image: An image in any mode.
        size: Width and height of the result in pixels.
        channels: 1 for grey, 3 for RGB.

    Raises:
        TunerError: Floats or integers are out of range.
        Exception: Raised by Pillow for a truncated file.
    """
    image.load()  # rotates a TIFF, and finds EXIF data after the pixels
    plain = _upright(_opaque(_eight_bits(image)), _orientation(image))
    fit = ImageOps.fit(plain.convert("L" if channels == 1 else "RGB"), size)
    return np.asarray(fit).reshape(size[1], size[0], channels)


def conversions(image: Image.Image, channels: int) -> Iterator[str]:
    """Describe what ``fitted`` does to an image besides scaling, according to its header."""
    is_grey = image.mode in GREY or image.mode.startswith("I;")
    if is_deep(image):
        yield "floats to 8 bits" if image.mode == "F" else "16 bits to 8"
    if image.mode in {"P", "PA"}:
        yield "palette to colours"
    if image.mode == "CMYK":
        yield "CMYK to RGB"
    if is_grey and channels == 3:
        yield "grey to RGB"
    if not is_grey and channels == 1:
        yield "colours to grey"
    if _is_transparent(image):
        yield "transparency to white"
    if _has_unusual_colours(image):
        yield "colour profile ignored"
    if _orientation(image, whole=False) in TURNS:
        yield "rotated by EXIF"
    if image.format != "MPO" and getattr(image, "is_animated", False):
        yield "first of several frames"


def _has_unusual_colours(image: Image.Image) -> bool:
    """Return whether the colour profile is not sRGB; its name may be encoded in UTF-16."""
    profile = image.info.get("icc_profile")
    return isinstance(profile, bytes) and b"sRGB" not in profile.replace(b"\0", b"")


def is_deep(image: Image.Image) -> bool:
    """Return whether the channels have more than 8 bits, in the file if pixels are not loaded.

    Of colours, Pillow keeps only the upper 8 bits.
    """
    return _is_deep_grey(image) or ";16" in str(getattr(image, "tile", ())[:1])


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would turn all above 255 white, and 1.0 almost black."""
    if not _is_deep_grey(image):
        return image
    levels, white = np.asarray(image), 1 if image.mode == "F" else 65535
    if not 0 <= levels.min() <= levels.max() <= white:  # NaN is not either
        raise TunerError(
            f"its pixels are {levels.dtype} from {levels.min():g} to {levels.max():g}",
            hint="save it with 8 bits, with 16 (0 to 65535), or as floats from 0 to 1",
        )
    scaled = (levels * np.float32(255)).round() if image.mode == "F" else levels // 257
    if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0:
        scaled = 255 - scaled  # in such a TIFF 0 is white
    clear = image.info.get("transparency")
    return Image.fromarray(np.where(levels == clear, 255, scaled).astype(np.uint8))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in TRANSPARENT or "transparency" in image.info


def _opaque(image: Image.Image) -> Image.Image:
    """Return the image on white; Pillow's own conversion would reveal the hidden pixels."""
    if not _is_transparent(image):
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _orientation(image: Image.Image, *, whole: bool = True) -> int | None:
    """Return the EXIF orientation; unless ``whole``, data after a PNG's pixels are not read."""
    try:
        exif = image.getexif() if whole else Image.Image.getexif(image)
        return exif.get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data do not affect the pixels
        return None


def _upright(image: Image.Image, orientation: int | None) -> Image.Image:
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)
