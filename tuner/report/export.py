"""The best configuration as an experiment that anyone can name, beside its trained model."""

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from tuner.config import Source
from tuner.report.summary import Row

MODEL_FILES = ("model.safetensors", "model.json")


def write(source: Source, row: Row, *, final_dir: Path, out_dir: Path) -> list[Path]:
    """Write ``overrides.txt``, the resolved ``config.yaml`` and, once trained, the model.

    The model is that of the first seed of ``tuner final``.  Returns the paths written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    overrides = out_dir / "overrides.txt"
    overrides.write_text("\n".join(row.overrides) + "\n")
    cfg = source.compose(list(row.overrides))
    resolved = out_dir / "config.yaml"
    resolved.write_text(OmegaConf.to_yaml(cfg.objective, resolve=True))
    copied = [
        Path(shutil.copy2(path, out_dir))
        for name in MODEL_FILES
        if (path := final_dir / "seed-0" / name).is_file()
    ]
    return [overrides, resolved, *copied]
