"""An overview of a data set before it is decoded, and whether it can be split as requested."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.errors import ConfigError


@dataclass(frozen=True)
class Overview:
    """The overview of a data set.

    ``in_shape`` is (channels, height, width). ``images`` and ``counts`` (per class; empty for float
    targets) are numbers before the split, without a separate ``test`` split. ``told`` maps headings
    to short remarks, which may be empty.
    """

    in_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    images: int
    counts: tuple[int, ...] = ()
    test: int | None = None
    told: Mapping[str, str] = field(default_factory=dict)

    def parts(
        self, *, validation: float, limit: int | None, test: float | None = None, **_: object
    ) -> tuple[int, int, int]:
        """Return the numbers of images for training, for scoring, and held out.

        Raises:
            ConfigError: scikit-learn's stratified split would fail; it is not imported here.
        """
        held_out, images = self.test or 0, self.images
        if test is not None:
            held_out = self._taken(math.ceil(test * images), images, "data.test", test)
            images -= held_out
        if limit is not None and limit < images:
            self._taken(limit, images, "data.limit", limit)
            images = limit
        scored = math.ceil(validation * images)
        self._taken(scored, images, "data.validation", validation)
        return images - scored, scored, held_out

    def _taken(self, part: int, images: int, key: str, asked: float) -> int:
        least = len(self.counts) or 1
        if min(part, images - part) < least or 1 in self.counts:
            parts = f"have each of {len(self.counts)} classes" if self.counts else "are not empty"
            raise ConfigError(
                f"{asked} cannot split {images} images into two parts that {parts}",
                key=key,
                hint="use another fraction between 0 and 1, or more images",
            )
        return part
