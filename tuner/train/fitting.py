"""Any image a person has, made into the bytes that a network was trained on.

Imports no torch, so that a decoding process starts at once.
"""

import numpy as np
from PIL import Image, ImageOps


def fitted(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """uint8 [height, width, channels]: the shorter side scaled, the middle cut out.

    ``size`` is (width, height); ``channels`` 1 is grey, 3 is RGB.  What is transparent is white;
    grey levels of 16 bits become 8.
    """
    plain = _opaque(_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    return np.asarray(ImageOps.fit(plain, size)).reshape(size[1], size[0], channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would turn all above 255 white."""
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).clip(0, 65535)
    return Image.fromarray((levels // 257).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would show what lies below, which nobody has seen."""
    if image.mode not in {"RGBA", "LA", "PA", "La", "RGBa"} and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
