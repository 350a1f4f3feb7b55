"""What a study holds on disk, and which checkpoints nothing resumes."""

import json
from pathlib import Path

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tests.databases import sqlite
from tuner.study import disk, run_files
from tuner.study.attempts import FIRST, REQUEUE
from tuner.study.study import Study

C, P, F, R, W = (TrialState[name] for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"))
ARTIFACT = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    rdb = sqlite(tmp_path / "study.db")
    rdb.create_new_study([StudyDirection.MAXIMIZE], "mine")
    return Study(rdb, "mine", grace=60, patience=1)


def add(study: Study, state: TrialState, value: float | None = None, **change: object) -> str:
    """Add a trial whose run directory has a checkpoint of 10 bytes and another file of 1."""
    number = len(study.optuna.get_trials())
    name = f"{number:05d}-01234567"
    attrs = {"run_dir": f"elsewhere/trials/{name}", **change.pop("user_attrs", {})}  # type: ignore[dict-item]
    trial = create_trial(state=state, value=value, user_attrs=attrs, **change)  # type: ignore[arg-type]
    study.storage.create_new_trial(study.id, trial)
    return name


def made(directory: Path, *names: str) -> None:
    for name in names:
        run_dir = directory / "trials" / name
        run_dir.mkdir(parents=True)
        (run_dir / "checkpoint.pt").write_bytes(b"0123456789")
        (run_dir / "metrics.jsonl").write_bytes(b"0")


def spent(found: disk.Held) -> list[int]:
    return sorted(int(path.parent.name.split("-")[0]) for path in found.spent)


@pytest.mark.parametrize(
    ("keep", "expected"), [((), [0, 1, 2, 3]), ((1,), [0, 2, 3]), ((0, 1, 5, 7), [2, 3])]
)
def test_ended_trials_but_the_best_have_spent_their_checkpoints(
    study: Study, tmp_path: Path, keep: tuple[int, ...], expected: list[int]
):
    fates = [(C, 0.5), (C, 0.9), (P, 1.0), (F, None), (R, None), (W, None)]
    made(tmp_path, *(add(study, state, value) for state, value in fates))
    found = disk.held(study, tmp_path, keep)
    assert spent(found) == expected
    assert (found.checkpoints, found.spent_size) == (60, 10 * len(expected))
    assert found.total == run_files.size(tmp_path) >= 66


def test_a_trial_that_is_tried_again_keeps_its_checkpoint(study: Study, tmp_path: Path):
    name = add(study, F, system_attrs={REQUEUE: {"reason": "lost"}})
    made(tmp_path, name)
    add(study, W, system_attrs={FIRST: 0}, user_attrs={"run_dir": name})
    assert spent(disk.held(study, tmp_path)) == []


@pytest.mark.parametrize("stored", ["../..", "/", "", "mine", "00000-01234567/..", None, 7])
def test_rows_name_no_other_directory(study: Study, tmp_path: Path, stored: object):
    made(tmp_path / "runs", "mine")
    made(tmp_path, "00000-01234567")
    add(study, P, user_attrs={"run_dir": stored})
    found = disk.held(study, tmp_path / "runs")
    assert (found.spent, found.checkpoints) == ([], 0)
    assert disk.files(study, tmp_path / "runs", tmp_path) == []


def test_a_link_in_the_place_of_a_run_directory_is_not_followed(study: Study, tmp_path: Path):
    made(tmp_path / "another", "00000-01234567")
    (tmp_path / "runs" / "trials").mkdir(parents=True)
    name = add(study, P)
    target = tmp_path / "another" / "trials" / name
    (tmp_path / "runs" / "trials" / name).symlink_to(target)
    assert disk.held(study, tmp_path / "runs").spent == []
    assert disk.files(study, tmp_path / "runs", tmp_path) == []
    (tmp_path / "checkpoint.pt").symlink_to(target / "checkpoint.pt")
    run_files.remove([tmp_path / "checkpoint.pt"])
    assert (target / "checkpoint.pt").exists()


def test_the_files_of_a_study_are_run_directories_and_artifacts(study: Study, tmp_path: Path):
    meta = [{"artifact_id": name, "filename": "a"} for name in (ARTIFACT, "../../" + "a" * 30)]
    name = add(
        study, C, 0.5, system_attrs={f"artifacts:{k}": json.dumps(m) for k, m in enumerate(meta)}
    )
    made(tmp_path, name)
    (tmp_path / ARTIFACT).touch()
    found = disk.files(study, tmp_path, tmp_path)
    assert found == [tmp_path / "trials" / name, tmp_path / ARTIFACT]
    run_files.remove(found)
    assert not any(path.exists() for path in found)


def test_the_latest_checkpoint_is_neither_the_previous_nor_a_damaged_one(tmp_path: Path):
    assert run_files.checkpoint(tmp_path) is None
    for name in ("checkpoint.pt", "checkpoint.previous.pt", "checkpoint.damaged"):
        (tmp_path / name).touch()
    assert run_files.checkpoint(tmp_path) == tmp_path / "checkpoint.pt"


def test_sizes_of_what_is_gone_or_linked_are_those_of_the_link(tmp_path: Path):
    (tmp_path / "large").write_bytes(b"0" * 100_000)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "file").symlink_to(tmp_path / "large")
    assert run_files.size(tmp_path / "linked") < 1000
    assert run_files.size(tmp_path / "missing") == 0
