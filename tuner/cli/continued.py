"""``tuner train --continue``: the overrides and the checkpoint of a trial to train further."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from tuner.cli import context
from tuner.config import directories
from tuner.config.lookup import key_of
from tuner.errors import ConfigError, TunerError
from tuner.report.configurations import Row
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary, summarise
from tuner.study import run_files

CHANGED = {"epochs", "patience"}
"""Last parts of the keys that may differ from the trial's."""


def of(args: argparse.Namespace) -> tuple[list[str], Path]:
    """Return the overrides of the continued training, and the checkpoint to start from.

    Raises:
        ConfigError: No number of epochs is given.
        TunerError: There is no such trial, or no checkpoint of it on this machine.
    """
    more = [text for text in args.overrides if _is_changed(text)]
    if not any(key_of(text).endswith("epochs") for text in more):
        told = "--continue requires the total number of epochs"
        raise ConfigError(told, key="trainer.epochs", hint="trainer.epochs=30")
    args.overrides = [text for text in args.overrides if text not in more]
    asked, study = context.ours(args)
    found = summarise(study.optuna)
    named = args.continued
    view = context.view_of(args, asked)
    row = view.best_row(found) if named == "best" else _numbered(found, named)
    run_dir = directories.of_run(Path(asked.study.dir), row.run_dir)
    checkpoint = None if run_dir is None else run_files.checkpoint(run_dir)
    if checkpoint is None:
        raise TunerError(
            f"trial {row.number} has no checkpoint on this machine",
            hint="study.keep_checkpoints=null keeps the checkpoints of all trials",
        )
    stored = [text for text in row.stored if not _is_changed(str(text))]
    own = Repeats(asked).overrides(replace(row, stored=stored))
    changed = {key_of(text) for text in more}
    return [*(text for text in own if key_of(text) not in changed), *more], checkpoint


def copy(checkpoint: Path, run_dir: Path) -> None:
    """Copy a checkpoint to a run directory, unless that has one already."""
    if run_files.checkpoint(run_dir) is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        if checkpoint.is_dir():
            shutil.copytree(checkpoint, run_dir / checkpoint.name)
        else:
            shutil.copy2(checkpoint, run_dir / checkpoint.name)


def _numbered(found: Summary, named: str) -> Row:
    for row in found.rows:
        if str(row.number) == named:
            return row
    told = f"study {found.name!r} has no trial {named!r} (got {found.tally or 'none'})"
    raise TunerError(told, key="--continue", hint="a number listed by tuner trials, or best")


def _is_changed(text: str) -> bool:
    return key_of(text).rpartition(".")[2] in CHANGED
