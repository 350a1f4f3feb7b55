"""Upload a trial's files and the learning curves of all its metrics for the dashboard."""

import re
from collections.abc import Mapping
from pathlib import Path

from optuna import Study, Trial
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import FrozenTrial

from tuner.study import attempts
from tuner.svg import curves_svg
from tuner.worker import metrics_log

FOLDER = "artifacts"  # in the run directory of a trial; every file in it is uploaded
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CURVES = "learning_curves.svg"
METRICS = "metrics.csv"


def open_store(directory: Path) -> FileSystemArtifactStore:
    """Create ``directory`` and return the artifact store in it."""
    directory.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(directory)


def attach(study: Study, trial: Trial, run_dir: Path, store: FileSystemArtifactStore) -> None:
    """Upload ``run_dir/artifacts/*``, and the learning curves as a drawing and a table.

    Call this before the trial ends, because Optuna does not accept attributes of a finished trial.
    A file replaces the one of the same name from an earlier attempt. Costs one commit per new file.
    """
    frozen = study._storage.get_trial(trial._trial_id)
    folder = run_dir / FOLDER
    if frozen.intermediate_values:
        folder.mkdir(parents=True, exist_ok=True)
        kept = metrics_log.read(run_dir)
        (folder / CURVES).write_text(_curves(study, frozen, kept), encoding="utf-8")
        if kept:
            (folder / METRICS).write_text(metrics_log.as_csv(kept), encoding="utf-8")
    uploaded = _uploaded(frozen)
    for path in sorted(folder.glob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.name in uploaded:
            with path.open("rb") as content:
                store.write(uploaded[path.name], content)
        else:
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)


def _curves(study: Study, trial: FrozenTrial, kept: Mapping[int, Mapping[str, float]]) -> str:
    metric = str(study.user_attrs.get("metric", "value"))
    lines = {metric: trial.intermediate_values, **metrics_log.curves(kept)}
    lines[metric] = trial.intermediate_values  # the study's values take precedence
    return curves_svg(lines, title=f"Configuration {attempts.first_number(trial)}")


def _uploaded(trial: FrozenTrial) -> dict[str, str]:
    """Return artifact ids by file name; a retry inherits those of earlier attempts.

    An id names a file in the store, so ids that Optuna would not generate are ignored.
    """
    known = {meta["filename"]: meta["artifact_id"] for meta in attempts.artifacts(trial)}
    return {name: artifact for name, artifact in known.items() if ID.fullmatch(artifact)}
