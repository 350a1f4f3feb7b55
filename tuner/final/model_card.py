"""Write the model card: what a model is, its training and test, and how to use it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.log import printable
from tuner.report.analysis.intervals import wilson
from tuner.report.commands import shared
from tuner.report.configurations import Row
from tuner.report.formatting import interval, metric, scattered, span, without_urls, word
from tuner.report.summary import Summary

CLASSES = 30
"""Maximum number of class names to list; ``model.json`` has all of them."""


def model_card(
    summary: Summary,
    row: Row,
    final: Mapping[str, Any],
    model: Mapping[str, Any],
    forms: Mapping[str, str],
    *,
    own: bool,
) -> str:
    """Return the model card of the winner in Markdown.

    Args:
        row: The winner, as it was finally trained.
        final: The contents of ``final.json``.
        model: The contents of ``model.json`` of the exported seed.
        forms: The files of the model, each with its description.
        own: Whether the network is one of tuner's; other networks need their code and trust.
    """
    parts = [
        f"---\nlibrary_name: tuner\npipeline_tag: {_task(model)}\n---\n",
        f"# {summary.name}\n\n{_about(summary, model)}",
        _section("Use", _use(model, forms, own=own)),
        _section("Score", _score(summary, final, model)),
        _section("Data", _data(model)),
        _section("Input", _input(model)),
        _section("How it was made", _made(summary, row, final, model)),
        _section(
            "Intended use",
            "Not stated. Whoever passes this model on says here what it is for, what it is not"
            " for, and for whom and what it was not tested.\n",
        ),
    ]
    return without_urls("\n".join(parts))


def _task(model: Mapping[str, Any]) -> str:
    return "image-regression" if model.get("regression") else "image-classification"


def _about(summary: Summary, model: Mapping[str, Any]) -> str:
    says = "numbers" if model.get("regression") else "classes"
    aim = "highest" if summary.maximize else "lowest"
    return (
        f"A neural network of {model['parameters']:,} weights that tells {len(model['classes'])}"
        f" {says} from {_images(model)}: the best of {summary.over} configurations that were"
        f" searched for the {aim} validation {summary.metric}.\n"
    )


def _images(model: Mapping[str, Any]) -> str:
    channels, height, width = model["in_shape"]
    return f"{'grey' if channels == 1 else 'colour'} images of {height} x {width} pixels"


def _use(model: Mapping[str, Any], forms: Mapping[str, str], *, own: bool) -> str:
    said = "scores" if model.get("regression") else "label"
    option, flag, needs = ("", "", "") if own else (", trust=True", " --trust", _needs(model))
    files = "\n".join(f"| `{name}` | {text} |" for name, text in forms.items())
    return (
        f'```python\nimport tuner\nmodel = tuner.load("this/directory"{option})\n'
        f'print(model("an image.png").{said})\n```\n\n'
        f"    tuner predict this/directory{flag} *.png\n\n{needs}"
        f"| file | what it is |\n|---|---|\n{files}\n"
    )


def _needs(model: Mapping[str, Any]) -> str:
    return (
        f"The network is built by `{model['recipe']['model']}`, code that is not in this directory:"
        " Python must find it, and trust runs it. The forms `.pt2` and `.onnx` need none of it.\n\n"
    )


def _score(summary: Summary, final: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    seeds = len(final.get("values") or [])
    title = f"{summary.metric}, mean over {seeds} seed{'s' * (seeds != 1)}"
    rows = {title: _spread(summary.metric, final)}
    for name, value in _own(model).items():
        rows[f"this model: {name}"] = metric(value)
        if name == "accuracy" and model.get("scored_on") and 0 <= value <= 1:
            ends = wilson(value, model["scored_on"])
            rows["… on other images of the kind"] = f"{span(ends)} (95 %, Wilson)"
    return (
        f"{_table(rows)}\nAll on {model.get('scored_on', 'the')} test images, which took no part in"
        " the search and were scored once a seed, when everything was decided.\n"
    )


def _own(model: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in model["metrics"].items() if not k.startswith("train_")}


def _spread(name: str, final: Mapping[str, Any]) -> str:
    if not final:
        return "not known"
    sd, ends = final.get("sd"), final.get("interval")
    if sd is None or ends is None:
        return f"{metric(final['mean'])} (one seed: its spread is not known)"
    if sd == 0:
        return f"{metric(final['mean'])}, the same with each seed"
    shown = scattered(final["mean"], sd, ends)
    return f"{shown}, 95 % interval of the mean {interval(name, ends)} (Student)"


def _data(model: Mapping[str, Any]) -> str:
    recipe = model["recipe"]
    names = list(map(str, model["classes"]))
    more = f" … and {len(names) - CLASSES} more" if len(names) > CLASSES else ""
    rows = {
        "data set": f"`{recipe['data']}`"
        + "".join(f", {recipe[key]}" for key in ("data.name",) if recipe.get(key)),
        "fingerprint": recipe.get("data.fingerprint"),
        "learned from": f"{model.get('learned_from', '?')} images (training and validation)",
        "tested on": f"{model.get('scored_on', '?')} images",
        "split": _settings(recipe, "data.", ("validation", "test", "split_seed", "limit")),
        "augmentation": _augmentation(recipe),
        "numbers" if model.get("regression") else "classes": ", ".join(names[:CLASSES]) + more,
    }
    return _table(rows)


def _input(model: Mapping[str, Any]) -> str:
    channels, height, width = model["in_shape"]
    mean, std = (", ".join(f"{value:.5g}" for value in model[key]) for key in ("mean", "std"))
    return _table(
        {
            "of `tuner.load`": "any image: its shorter side is scaled and the middle cut out, made"
            f" {'grey' if channels == 1 else 'RGB'}, white where it is transparent",
            "of the other forms": f"`images`, uint8 [batch, {height}, {width}, {channels}]",
            "normalisation, in the model": f"(grey level - {mean}) / {std}",
        }
    )


def _made(summary: Summary, row: Row, final: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    attrs = summary.attrs
    versions = {**(attrs.get("versions") or {}), **(model.get("environment") or {})}
    seeds = final.get("seeds") or []
    overrides = [
        *shared(final.get("overrides") or ()),
        *(f"seed={k}" for k in seeds[:1]),
    ]
    line = shlex.join(["tuner", "train", *overrides])
    rows = {
        "study": f"{summary.name}, configuration {row.number} of {len(summary.rows)}",
        "seeds": f"{', '.join(map(str, seeds))}; this model is of the first",
        "git commit": attrs.get("git_commit") or "not known",
        "with": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return f"{_table(rows)}\n```sh\n{line}\n```\n\n`config.yaml` has every setting of the search.\n"


def _settings(recipe: Mapping[str, Any], prefix: str, names: Sequence[str]) -> str:
    found = {name: recipe.get(prefix + name) for name in names}
    return ", ".join(f"{name} {word(value)}" for name, value in found.items() if value is not None)


def _augmentation(recipe: Mapping[str, Any]) -> str:
    prefix = "data.augment."
    used = [key for key, value in recipe.items() if key.startswith(prefix) and value]
    if all(isinstance(recipe[key], str) for key in used):  # only options, such as border
        return "none"
    return _settings(recipe, prefix, [key.removeprefix(prefix) for key in used])


def _table(rows: Mapping[str, object]) -> str:
    cells = (
        (key, printable(str(value), kept="").replace("|", "\\|"))
        for key, value in rows.items()
        if value
    )
    lines = (f"| {key} | {value} |" for key, value in cells)
    return "| | |\n|---|---|\n" + "\n".join(lines) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"
