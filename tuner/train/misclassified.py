"""Draw the misclassified images with the most confident predictions on one sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tuner.files import replaced
from tuner.train.data.tensors import Split
from tuner.train.device import hardware
from tuner.train.learner import Learner

SHOWN = 20
SEARCHED = 4096
"""Number of images to check; the splits are in random order, and the sheet must be cheap."""
TILE, GAP, LINE, COLUMNS = 96, 12, 15, 5
"""Pixels of an image's side, between two images, and of a line of text; images per row."""

INK = "#7d8590"
"""Legible on white and black, like the sheet's other colours, because the sheet is transparent."""


@dataclass(frozen=True)
class Mistake:
    """``image`` uint8 [H, W, C], its true class, and the predicted one with its probability."""

    image: np.ndarray
    truth: str
    predicted: str
    probability: float


def write(run_dir: Path, learner: Learner, split: Split) -> None:
    """Write ``artifacts/mistakes.png``, unless the first SEARCHED images have no mistakes."""
    found = find(learner, split)
    if found:
        with replaced(run_dir / "artifacts" / "mistakes.png") as draft:
            sheet(found).save(draft, "PNG", optimize=True)


@torch.inference_mode()
def find(learner: Learner, split: Split) -> list[Mistake]:
    """Return wrong predictions for the first SEARCHED images, the most confident first."""
    some = Split(split.images[:SEARCHED], split.labels[:SEARCHED], split.streamed)
    network = learner.scored.eval()
    parts: list[tuple[Tensor, Tensor]] = []
    size = learner.feed.portion(learner.settings.eval_batch_size)
    for images, _ in learner.feed.whole(some, size):
        with hardware.autocast(learner.device, learner.settings.precision):
            parts.append(network(images).float().softmax(1).max(1))
    probabilities, predicted = map(torch.cat, zip(*parts, strict=True))
    labels = some.labels[: len(predicted)]  # each of several ranks evaluates its own share
    doubt = torch.where(predicted != labels, 1 - probabilities, 2.0)
    rows = doubt.argsort()[:SHOWN].tolist()
    classes = learner.data.classes
    return [
        Mistake(
            some.images[row].cpu().numpy(),
            classes[int(labels[row])],
            classes[int(predicted[row])],
            float(probabilities[row]),
        )
        for row in rows
        if predicted[row] != labels[row]
    ]


def sheet(found: Sequence[Mistake]) -> Image.Image:
    """Draw the images in rows, each above its true and predicted class."""
    wide, tall = TILE + GAP, TILE + 2 * LINE + GAP
    rows = math.ceil(len(found) / COLUMNS)
    page = Image.new("RGBA", (GAP + COLUMNS * wide, 2 * GAP + LINE + rows * tall))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    title = "Misclassified images, the most confident first: true class, predicted class"
    pen.text((GAP, GAP), title, INK, ImageFont.load_default(14))
    for place, mistake in enumerate(found):
        row, column = divmod(place, COLUMNS)
        left, top = GAP + column * wide, 2 * GAP + LINE + row * tall
        picture = _picture(mistake.image)
        page.paste(picture, (left, top))
        said = f" ({mistake.probability:.0%})"
        lines = (
            (_cut(mistake.truth, TILE, font), "#2da44e"),
            (_cut(mistake.predicted, TILE - int(font.getlength(said)), font) + said, "#e5534b"),
        )
        for number, (text, colour) in enumerate(lines):
            pen.text((left, top + TILE + 2 + number * LINE), text, colour, font)
    return page


def _picture(image: np.ndarray) -> Image.Image:
    """Scale an image to TILE pixels in the longer side; small images keep visible pixels."""
    flat = image[..., :3] if image.shape[2] >= 3 else image[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(flat)).convert("RGB")
    scale = TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.resize(size, way)


def _cut(text: str, width: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Truncate a line to ``width`` pixels."""
    line = "".join(c if c.isprintable() else " " for c in text)
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
