"""Write the model card: what a model is, its training and test, and how to use it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tuner.report.analysis.intervals import wilson
from tuner.report.commands import shared
from tuner.report.configurations import Row
from tuner.report.formatting import interval, metric, plain, scattered, span, word
from tuner.report.markdown import cell, templates
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
    channels, height, width = model["in_shape"]
    mean, std = (", ".join(f"{value:.5g}" for value in model[key]) for key in ("mean", "std"))
    overrides = [*shared(final.get("overrides") or ()), *(f"seed={k}" for k in _seeds(final)[:1])]
    return templates("tuner.final", code=_code).get_template("model_card.md.j2").render(
        summary=summary,
        regression=bool(model.get("regression")),
        weights=f"{model['parameters']:,}",
        classes=len(model["classes"]),
        channels=channels,
        height=height,
        width=width,
        mean=mean,
        std=std,
        own=own,
        network=model["recipe"]["model"],
        forms=forms,
        tested=model.get("scored_on"),
        scores=_scores(summary, final, model),
        data=_data(model),
        training=_training(summary, row, final, model),
        command=shlex.join(["tuner", "train", *overrides]),
    )  # fmt: skip


def _code(text: str) -> Markup:
    return Markup(f"`{plain(text).replace('`', '').replace('|', '')}`")


def _seeds(final: Mapping[str, Any]) -> Sequence[int]:
    return final.get("seeds") or []


def _scores(
    summary: Summary, final: Mapping[str, Any], model: Mapping[str, Any]
) -> dict[Markup, str]:
    seeds = len(final.get("values") or [])
    title = f"{cell(summary.metric)}, mean over {seeds} seed{'s' * (seeds != 1)}"
    rows = {Markup(title): _spread(summary.metric, final)}
    for name, value in model["metrics"].items():
        if name.startswith("train_"):
            continue
        rows[Markup(f"{cell(name)} of this model")] = metric(value)
        if name == "accuracy" and model.get("scored_on") and 0 <= value <= 1:
            ends = wilson(value, model["scored_on"])
            rows[Markup("… on other images of the kind")] = f"{span(ends)} (95 %, Wilson)"
    return rows


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


def _data(model: Mapping[str, Any]) -> dict[str, object]:
    recipe = model["recipe"]
    names = list(map(str, model["classes"]))
    more = f" … and {len(names) - CLASSES} more" if len(names) > CLASSES else ""
    return {
        "data set": Markup(" ").join(
            map(_code, filter(None, (recipe["data"], recipe.get("data.name"))))
        ),
        "fingerprint": recipe.get("data.fingerprint"),
        "trained on": f"{model.get('learned_from', '?')} images (training and validation)",
        "tested on": f"{model.get('scored_on', '?')} images",
        "split": _settings(recipe, "data.", ("validation", "test", "split_seed", "limit")),
        "augmentation": _augmentation(recipe),
        "numbers" if model.get("regression") else "classes": ", ".join(names[:CLASSES]) + more,
    }


def _training(
    summary: Summary, row: Row, final: Mapping[str, Any], model: Mapping[str, Any]
) -> dict[str, str]:
    attrs = summary.attrs
    versions = {**(attrs.get("versions") or {}), **(model.get("environment") or {})}
    return {
        "study": f"{summary.name}, configuration {row.number} of {len(summary.rows)}",
        "seeds": f"{', '.join(map(str, _seeds(final)))}; this model is of the first",
        "git commit": attrs.get("git_commit") or "not known",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _settings(recipe: Mapping[str, Any], prefix: str, names: Sequence[str]) -> Markup:
    found = {name: recipe.get(prefix + name) for name in names}
    return cell(", ".join(f"{k} {word(value)}" for k, value in found.items() if value is not None))


def _augmentation(recipe: Mapping[str, Any]) -> str:
    prefix = "data.augment."
    used = [key for key, value in recipe.items() if key.startswith(prefix) and value]
    if all(isinstance(recipe[key], str) for key in used):  # only options, such as border
        return "none"
    return _settings(recipe, prefix, [key.removeprefix(prefix) for key in used])
