"""Export the best configuration as a Hydra experiment, beside its trained model."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import tuner
from tuner.config import directories, exported_json, extras, lookup
from tuner.config.composition import Source
from tuner.config.exported_json import OWN
from tuner.config.override_parser import parse
from tuner.errors import Mistake, TunerError
from tuner.files import replace
from tuner.final.model_card import model_card
from tuner.log import log
from tuner.report.configurations import Row
from tuner.report.final_record import is_of, read_record
from tuner.report.summary import Summary

WEIGHTS, MODEL, EXAMPLES = "model.safetensors", "model.json", "examples.safetensors"
FORMS = {"pt2": "torch.export", "onnx": "ONNX"}
"""Additional formats of the model, by the suffix of their files."""


def write(source: Source, words: Sequence[str], out_dir: Path) -> list[Path]:
    """Write overrides as ``overrides.txt``, resolved ``config.yaml`` and ``experiment/best.yaml``.

    ``tuner train --config-dir OUT_DIR experiment=best`` uses the last of these.

    Returns:
        The paths of the files.
    """
    overrides = out_dir / "overrides.txt"
    replace(overrides, "\n".join(words) + "\n")
    experiment = out_dir / "experiment" / "best.yaml"
    replace(experiment, overlay(source, words))
    cfg = source.compose(list(words))
    resolved = out_dir / "config.yaml"
    values = lookup.plain(cfg, "objective")
    replace(resolved, lookup.text(OmegaConf.create(values)))
    return [overrides, resolved, experiment]


def write_model(
    summary: Summary, row: Row, final_dir: Path, out_dir: Path, forms: Sequence[str], *, trust: bool
) -> list[Path]:
    """Write the trained model, its card and the formats in ``forms``.

    The model is that of the first seed of ``tuner final``; if there is none, nothing is written.
    If the extra for a format is not installed, it is skipped with a warning.

    Returns:
        The paths of the files.

    Raises:
        TunerError: A format does not reproduce the outputs of the model, or the extra for the only
            requested format is not installed.
    """
    for name in (WEIGHTS, MODEL, "README.md", *(f"model.{form}" for form in FORMS)):
        (out_dir / name).unlink(missing_ok=True)  # left by an earlier winner
    final, seed = _trained(final_dir)
    if not ((seed / WEIGHTS).is_file() and is_of(final, row)):
        log.warning("no trained model yet; hint: run `tuner final` to train the winner")
        return []
    copied = [Path(shutil.copy2(seed / WEIGHTS, out_dir))]
    model = _model(seed)
    if not model:  # a user's objective has written its own weights
        return copied
    copied.append(Path(shutil.copy2(seed / MODEL, out_dir)))
    said = {
        WEIGHTS: "the weights; loading them does not run any code",
        MODEL: "class names, normalisation, settings and scores",
    }
    made, differences = _convert(seed, out_dir, forms, trust=trust) if forms else ([], {})
    said |= differences
    card = out_dir / "README.md"
    text = model_card(summary, row, final, model, said, own=network(final_dir) in OWN)
    replace(card, text)
    return [*copied, *made, card]


def export_winner(
    source: Source,
    summary: Summary,
    row: Row,
    words: Sequence[str],
    final_dir: Path,
    out_dir: Path,
) -> None:
    """Export a winner of the built-in trainer: all files of ``write`` and ``write_model``.

    Formats of an earlier export are written again, unless that would import a user's class.
    """
    own = network(final_dir) not in OWN
    forms = [form for form in FORMS if not own and (out_dir / f"model.{form}").exists()]
    write(source, words, out_dir)
    write_model(summary, row, final_dir, out_dir, forms, trust=False)


def network(final_dir: Path) -> str | None:
    """Return the name of the network's callable; None if the built-in trainer was not used."""
    _, seed = _trained(final_dir)
    model = _model(seed)
    return str(model["recipe"]["model"]) if model and (seed / WEIGHTS).is_file() else None


def _trained(final_dir: Path) -> tuple[Mapping[str, Any], Path]:
    """Return the record of ``tuner final`` and the run directory of its first seed."""
    final = read_record(final_dir)
    first = next(iter(final.get("run_dirs") or ()), None)
    before_0_2 = final_dir / f"seed-{(final.get('seeds') or [0])[0]}"
    return final, directories.of_run(final_dir, first) or before_0_2


def _convert(
    seed: Path, out_dir: Path, forms: Sequence[str], *, trust: bool
) -> tuple[list[Path], dict[str, str]]:
    """Write the additional formats of the model; return their descriptions."""
    if not (seed / EXAMPLES).is_file():
        log.warning(
            "the model has no example images to check other formats against; "
            "hint: run `tuner final` again"
        )
        return [], {}
    predictor = tuner.load(seed, trust=trust)
    made, said = [], {}
    for form in forms:
        path = out_dir / f"model.{form}"
        if missing := predictor.missing(form):
            lacking = Mistake(
                "", f"{path.name} needs {', '.join(missing)}", extras.cure(missing[0])
            )
            if len(forms) == 1:
                raise TunerError([lacking])
            log.warning("not exported: %s", lacking)
            continue
        difference = predictor.export(form, path, seed / EXAMPLES)
        log.info("%s: outputs within %.2g of the trained model's", path.name, difference)
        made.append(path)
        within = f"within {difference:.1g} of" if difference else "equal to"
        said[path.name] = f"{FORMS[form]}; outputs on real images {within} those of the weights"
    return made, said


def _model(seed: Path) -> Mapping[str, Any]:
    """Return ``model.json`` of a training; empty if the built-in trainer wrote none.

    Raises:
        TunerError: The file has invalid contents.
    """
    path = seed / MODEL
    try:
        return exported_json.model(path) if "recipe" in exported_json.read(path) else {}
    except (OSError, ValueError):
        return {}


def overlay(source: Source, overrides: Sequence[str]) -> str:
    """Return overrides as YAML of a Hydra experiment: a defaults list for groups, then values."""
    groups: list[str] = []
    values = OmegaConf.create()
    for text in overrides:
        override = parse(text)
        if source.options(override.key_or_group):
            groups.append(f"  - override /{override.key_or_group}: {override.value()}\n")
        else:
            OmegaConf.update(values, override.key_or_group, override.value(), force_add=True)
    defaults = f"defaults:\n{''.join(groups)}" if groups else ""
    return f"# @package _global_\n{defaults}{OmegaConf.to_yaml(values)}"
