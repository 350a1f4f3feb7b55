"""JSON that tuner wrote and somebody may have changed since: read, and judged by its dataclass.

``Model`` is ``model.json``, what is known of a trained model beside its weights.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from tuner.bounds import Bounds, Count, Positive, Whole
from tuner.errors import TunerError
from tuner.schema import conforms, mistake

PIXELS = 1 << 24
"""Of an image that a model takes, at most: so many would fill a GPU's memory in a small network."""
LETTERS = 160
"""Of a mistake; a value may be of any length."""

Finite = Annotated[float, Bounds(-math.inf)]


@dataclass(frozen=True)
class Model:
    """The keys of ``model.json``; others are passed over."""

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
    """What a ``model.json`` says.

    Raises: OSError; ValueError where it is no JSON; TunerError naming all that is wrong with it.
    """
    found = read(path)
    wrong = mistakes(found, Model) or _contradictions(found)
    if wrong:
        told = "; ".join(wrong)
        raise TunerError(f"{path}: {told}; hint: `tuner final` and `tuner export` write it anew")
    return found


def read(path: Path) -> dict[str, Any]:
    """A file of one JSON object.  Raises: OSError, ValueError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} and no object")
    return found


def mistakes(found: object, kind: type, path: str = "") -> list[str]:
    """In what JSON differs from what ``asdict`` makes of a dataclass; more keys are no mistake."""
    if not isinstance(found, dict):
        return [mistake(path, kind, found)[:LETTERS]]
    said: list[str] = []
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        name = f"{path}.{field.name}".lstrip(".")
        if field.name in found:
            said += _mistakes(found[field.name], hints[field.name], name)
        elif field.default is MISSING and field.default_factory is MISSING:
            said.append(f"{name} is missing")
    return said


def _mistakes(value: object, hint: Any, path: str) -> list[str]:
    """… of a field, which may hold a dataclass, or a sequence of them."""
    within = next(
        (p for p in (hint, *get_args(hint)) if isinstance(p, type) and is_dataclass(p)), None
    )
    if within is None or (value is None and conforms(None, hint)):
        return [] if conforms(_with_nan(value), hint) else [mistake(path, hint, value)[:LETTERS]]
    if get_origin(hint) is not Sequence:
        return mistakes(value, within, path)
    if not isinstance(value, list):
        return [mistake(path, hint, value)[:LETTERS]]
    return [text for k, item in enumerate(value) for text in mistakes(item, within, f"{path}[{k}]")]


def _with_nan(value: object) -> object:
    """The value with NaN for null in lists and mappings: JSON has no NaN."""
    if isinstance(value, list):
        return [math.nan if item is None else _with_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: math.nan if item is None else _with_nan(item) for key, item in value.items()}
    return value


def _contradictions(found: Mapping[str, Any]) -> list[str]:
    channels, height, width = found["in_shape"]
    said = []
    if not found["classes"] or len(set(found["classes"])) != len(found["classes"]):
        said.append(f"{len(found['classes'])} classes, not all of another name")
    means, deviations = len(found["mean"]), len(found["std"])
    if means != deviations or not (means == channels or (channels == 1 and means == 3)):
        said.append(  # weights of ImageNet's take grey images for colour
            f"mean and std of {means} and {deviations} channels, in_shape of {channels}"
        )
    if height * width > PIXELS:
        said.append(f"images of {height}x{width} pixels")
    if not isinstance(found["recipe"].get("model"), str):
        said.append("recipe has no model")
    return said
