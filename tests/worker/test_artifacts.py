"""optuna-dashboard and Optuna can read a trial's artifacts."""

import json
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna import Study, Trial
from optuna.artifacts import download_artifact, get_all_artifact_meta

from tests.samples import new_study
from tuner.worker import metrics_log
from tuner.worker.artifacts import attach, open_store

OVERRIDES = ["optimizer=sgd", "optimizer.lr=0.1", "data.root=/my data"]


def running(study: Study, directory: Path) -> tuple[Trial, Path]:
    """A trial with three epochs reported and one file of the objective's."""
    trial = study.ask()
    trial.set_user_attr("overrides", OVERRIDES)
    for epoch in (1, 2, 3):
        trial.report(epoch / 4, epoch)
    run_dir = directory / "trials" / "a 0"
    (run_dir / "artifacts").mkdir(parents=True)
    (run_dir / "artifacts" / "confusion.svg").write_text("<svg/>")
    return trial, run_dir


def test_files_and_curve_are_uploaded_for_the_dashboard(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    store = open_store(tmp_path / "artifacts")
    trial, run_dir = running(study, tmp_path)
    (run_dir / "artifacts" / ".draft").write_text("")
    (run_dir / "artifacts" / "folder").mkdir()
    attach(study, trial, run_dir, store)
    study.tell(trial, 0.75)
    metas = get_all_artifact_meta(study_or_trial=study.trials[0], storage=study._storage)
    assert {meta.filename: meta.mimetype for meta in metas} == {
        "confusion.svg": "image/svg+xml",
        "learning_curves.svg": "image/svg+xml",
    }
    (curve,) = [meta for meta in metas if meta.filename == "learning_curves.svg"]
    copy = tmp_path / "copy.svg"
    download_artifact(artifact_id=curve.artifact_id, file_path=str(copy), artifact_store=store)
    assert copy.read_text().count("<circle") == 3
    assert "val_accuracy" in copy.read_text()


@pytest.mark.parametrize("planted", ["../mine", "mine", "/etc/mine", "x" * 36])
def test_a_file_that_a_row_names_is_not_written_over(tmp_path: Path, planted: str) -> None:
    """An artifact's id is its file's name in the store."""
    study = new_study(tmp_path)
    (tmp_path / "artifacts").mkdir()
    for mine in (tmp_path / "mine", tmp_path / "artifacts" / "mine"):
        mine.write_text("mine")
    trial, run_dir = running(study, tmp_path)
    meta = json.dumps({"artifact_id": planted, "filename": "confusion.svg"})
    study._storage.set_trial_system_attr(trial._trial_id, f"artifacts:{planted}", meta)
    attach(study, trial, run_dir, open_store(tmp_path / "artifacts"))
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "artifacts" / "mine").read_text() == "mine"
    assert "<svg/>" in [p.read_text() for p in (tmp_path / "artifacts").iterdir()]


def test_all_metrics_are_drawn_and_tabled(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    trial, run_dir = running(study, tmp_path)
    for epoch in (1, 2):
        metrics_log.append(
            run_dir, epoch, {"val_accuracy": 0.0, "loss": 1 / epoch, "train_loss": 1.0}
        )
    attach(study, trial, run_dir, open_store(tmp_path / "artifacts"))
    assert (run_dir / "artifacts" / "metrics.csv").read_text().startswith("step,val_accuracy,loss")
    drawn = (run_dir / "artifacts" / "learning_curves.svg").read_text()
    assert "loss (dashed: training)" in drawn
    assert drawn.count("<circle") == 3 + 2  # the metric as the study has it


def test_a_retry_replaces_what_the_attempt_before_it_uploaded(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    store = open_store(tmp_path / "artifacts")
    trial, run_dir = running(study, tmp_path)
    attach(study, trial, run_dir, store)
    frozen = study._storage.get_trial(trial._trial_id)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            user_attrs=frozen.user_attrs,
            system_attrs={**frozen.system_attrs, "failed_trial": 0},
            intermediate_values=frozen.intermediate_values,
        )
    )
    again = study.ask()
    again.report(0.9, 4)
    attach(study, again, run_dir, store)
    metas = get_all_artifact_meta(study_or_trial=again)
    assert sorted(meta.filename for meta in metas) == ["confusion.svg", "learning_curves.svg"]
    curve = next(meta.artifact_id for meta in metas if "curve" in meta.filename)
    drawn = (tmp_path / "artifacts" / curve).read_text()
    assert drawn.count("<circle") == 4
    assert "Configuration 0" in drawn


def test_a_trial_that_left_nothing_is_no_error(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    trial = study.ask()
    attach(study, trial, tmp_path / "absent", open_store(tmp_path / "artifacts"))
    assert get_all_artifact_meta(study_or_trial=trial) == []
    assert not (tmp_path / "absent").exists()


def test_attaching_costs_the_same_however_many_notes_there_are(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    storage, study_id = study._storage, study._study_id
    store = open_store(tmp_path / "artifacts")
    statements: list[str] = []
    sa.event.listen(
        storage._backend.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, text, *_: statements.append(text),
    )
    counts = []
    for notes in (0, 300):
        for k in range(notes):
            storage.set_study_system_attr(study_id, f"dashboard:{k + 10**6}:note_str:0", "x")
        trial, run_dir = running(study, tmp_path / str(notes))
        statements.clear()
        attach(study, trial, run_dir, store)
        counts.append(len(statements))
    assert 0 < counts[0] == counts[1] < 60


@pytest.mark.parametrize("module", ["optuna_dashboard", "plotly", "rich"])
def test_workers_do_not_pay_for_the_report(module: str) -> None:
    import subprocess
    import sys

    code = f"import sys, tuner.worker.artifacts; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
