"""The best configuration as an experiment that anyone can name, beside its trained model."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from tuner.config import Source, parse
from tuner.report.summary import Row

MODEL_FILES = ("model.safetensors", "model.json")


def write(source: Source, row: Row, *, final_dir: Path, out_dir: Path) -> list[Path]:
    """Write ``overrides.txt``, the resolved ``config.yaml`` and, once trained, the model.

    ``experiment/best.yaml`` serves ``tuner train --config-dir OUT_DIR experiment=best``.  The model
    is that of the first seed of ``tuner final``.  Returns the paths written.
    """
    (out_dir / "experiment").mkdir(parents=True, exist_ok=True)
    overrides = out_dir / "overrides.txt"
    overrides.write_text("\n".join(row.overrides) + "\n")
    experiment = out_dir / "experiment" / "best.yaml"
    experiment.write_text(overlay(source, row.overrides))
    cfg = source.compose(list(row.overrides))
    resolved = out_dir / "config.yaml"
    resolved.write_text(OmegaConf.to_yaml(cfg.objective, resolve=True))
    copied = [
        Path(shutil.copy2(path, out_dir))
        for name in MODEL_FILES
        if (path := final_dir / "seed-0" / name).is_file()
    ]
    return [overrides, resolved, experiment, *copied]


def overlay(source: Source, overrides: Sequence[str]) -> str:
    """Overrides as a Hydra experiment: groups in its defaults list, values below."""
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
