"""What a study holds on this machine's disk, and which of it can be removed.

Rows can be written by anybody. So files are named by this machine's directories, and a row only
says which of the run directories in there are whose; see ``tuner.config.directories.of_run``.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from tuner.config import directories
from tuner.study import attempts, run_files
from tuner.study.study import Study


@dataclass(frozen=True)
class Held:
    """Sizes in bytes of what a study holds on disk."""

    directory: Path
    total: int
    checkpoints: int
    """Size of all checkpoints of its trials, which ``total`` includes."""
    spent: Sequence[Path]
    """Checkpoints of ended trials, which nothing resumes."""
    spent_size: int
    spent_trials: int


def held(study: Study, directory: Path, keep: Collection[int] = ()) -> Held:
    """Look at the files of a study.

    Args:
        directory: The study's directory.
        keep: Numbers of configurations whose checkpoints are not spent.
    """
    last = attempts.last(study.optuna.get_trials(deepcopy=False))
    kept = [t for t in last if attempts.first_number(t) in keep or not t.state.is_finished()]
    mine = _run_dirs(directory, last)
    safe = _run_dirs(directory, kept)
    checkpoints = {run_dir: list(run_dir.glob(run_files.CHECKPOINTS)) for run_dir in mine}
    spent = {d: found for d, found in checkpoints.items() if found and d not in safe}
    paths = [path for found in spent.values() for path in found]
    return Held(
        directory=directory,
        total=run_files.size(directory) if directory.is_dir() else 0,
        checkpoints=_sizes(path for found in checkpoints.values() for path in found),
        spent=paths,
        spent_size=_sizes(paths),
        spent_trials=len(spent),
    )


def files(study: Study, directory: Path, artifacts: Path) -> list[Path]:
    """Return the run directories of a study's trials on this machine, and their artifacts."""
    trials = study.optuna.get_trials(deepcopy=False)
    metas = (meta for trial in trials for meta in attempts.artifacts(trial))
    stored = (artifacts / meta["artifact_id"] for meta in metas)  # their form is checked when read
    return [*_run_dirs(directory, trials), *(path for path in stored if path.is_file())]


def _run_dirs(directory: Path, trials: Iterable[FrozenTrial]) -> list[Path]:
    """Return the run directories of trials that exist on this machine, each once."""
    named = (directories.of_run(directory, trial.user_attrs.get("run_dir")) for trial in trials)
    return [path for path in dict.fromkeys(named) if path is not None and path.is_dir()]


def _sizes(paths: Iterable[Path]) -> int:
    return sum(map(run_files.size, paths))
