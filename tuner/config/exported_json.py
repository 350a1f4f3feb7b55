"""Read the JSON files that tuner exports, and check them against dataclasses.

The files are untrusted: anybody may have edited them. ``Model`` describes ``model.json``, the
metadata of a trained model.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from tuner.config.bounds import Bounds, Count, Positive, Whole
from tuner.config.types import conforms, mistake
from tuner.errors import Mistake, TunerError

OWN = {"tuner.train.model.cnn.cnn", "tuner.train.model.torchvision.classifier"}
"""Builders of networks that are called without trust; any other name refers to a user's code."""
PIXELS = 1 << 24
"""Maximum number of pixels of an input image; more would fill a GPU's memory."""
LETTERS = 160
"""Maximum length of an error message, because the value in it may have any length."""

Finite = Annotated[float, Bounds(-math.inf)]


@dataclass(frozen=True)
class Model:
    """The keys of ``model.json``; other keys are ignored."""

    classes: list[str]
    in_shape: tuple[Count, Count, Count]
    """Channels, height, width."""
    mean: list[Finite]
    std: list[Positive]
    recipe: dict[str, Any]
    metrics: dict[str, float]
    parameters: Whole
    regression: bool = False
    learned_from: Whole = 0
    scored_on: Whole = 0
    environment: Mapping[str, str] | None = None


def model(path: Path) -> dict[str, Any]:
    """Read and check a ``model.json``.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a JSON object.
        TunerError: It has errors, all of which the message names.
    """
    found = read(path)
    wrong = mistakes(found, Model) or _contradictions(found)
    if wrong:
        hint = "write it again with `tuner final` or `tuner export`"
        raise TunerError(f"{path}: {in_one_line(wrong)}", hint=hint)
    return found


def read(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("its nesting is too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, got {type(found).__name__}")
    return found


def in_one_line(wrong: Sequence[Mistake]) -> str:
    """Return the errors of a file as one line."""
    return "; ".join(str(mistake)[:LETTERS] for mistake in wrong)


def mistakes(found: object, kind: type, path: str = "") -> list[Mistake]:
    """Return the deviations of JSON from the dataclass ``kind``; extra keys are allowed."""
    if not isinstance(found, dict):
        return [mistake(path, kind, found)]
    said: list[Mistake] = []
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        name = f"{path}.{field.name}".lstrip(".")
        if field.name in found:
            said += _mistakes(found[field.name], hints[field.name], name)
        elif field.default is MISSING and field.default_factory is MISSING:
            said.append(Mistake(name, "missing"))
    return said


def _mistakes(value: object, hint: Any, path: str) -> list[Mistake]:
    """Return the errors of one field, which may hold a dataclass or a sequence of dataclasses."""
    within = next(
        (p for p in (hint, *get_args(hint)) if isinstance(p, type) and is_dataclass(p)), None
    )
    if within is None or (value is None and conforms(None, hint)):
        return [] if conforms(_with_nan(value), hint) else [mistake(path, hint, value)]
    if get_origin(hint) is not Sequence:
        return mistakes(value, within, path)
    if not isinstance(value, list):
        return [mistake(path, hint, value)]
    return [m for k, item in enumerate(value) for m in mistakes(item, within, f"{path}[{k}]")]


def _with_nan(value: object) -> object:
    """Return the value with NaN instead of null in lists and mappings, because JSON has no NaN."""
    if isinstance(value, list):
        return [math.nan if item is None else _with_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: math.nan if item is None else _with_nan(item) for key, item in value.items()}
    return value


def _contradictions(found: Mapping[str, Any]) -> list[Mistake]:
    channels, height, width = found["in_shape"]
    said = []
    if not found["classes"] or len(set(found["classes"])) != len(found["classes"]):
        said.append(
            Mistake("classes", f"{len(found['classes'])} class names, which are not all different")
        )
    means, deviations = len(found["mean"]), len(found["std"])
    if means != deviations or not (means == channels or (channels == 1 and means == 3)):
        problem = f"of {means}, std of {deviations} and in_shape of {channels} channels"
        said.append(Mistake("mean", problem))  # ImageNet weights treat grey images as colour images
    if height * width > PIXELS:
        said.append(Mistake("in_shape", f"images of {height}x{width} pixels"))
    if not isinstance(found["recipe"].get("model"), str):
        said.append(Mistake("recipe", "contains no model"))
    return said
