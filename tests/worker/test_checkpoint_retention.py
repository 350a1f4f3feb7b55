"""Checkpoints of ended trials are removed, except those of the best and of unfinished ones."""

from collections import Counter

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.conftest import Project
from tuner.config.composition import Source
from tuner.storage import database
from tuner.study import plan
from tuner.study.study import Study
from tuner.worker import checkpoint_retention

LONGER = "00001-01234567-mine"
"""No run's, though it begins as theirs do."""
ENDED = [0.1, 0.9, 0.5, 0.9, 0.2]


@pytest.fixture
def study(tmp_path) -> Study:
    rdb = database.connect(f"sqlite:///{tmp_path}/study.db")
    for name in ("other", "mine"):
        rdb.create_new_study([1], name)
    made = Study(rdb, "mine", grace=60, patience=1)
    for study_id in (1, 2):  # the other study's must not count
        for value in ENDED:
            made.storage.create_new_trial(
                study_id, create_trial(state=TrialState.COMPLETE, value=value)
            )
    return made


def last(study: Study, **change) -> FrozenTrial:
    template = create_trial(**change)
    return study.storage.get_trial(study.storage.create_new_trial(study.id, template))


@pytest.mark.parametrize(
    ("keep", "maximize", "removed"),
    [
        (1, True, [0, 2, 3, 4]),  # of two equals the older is better
        (2, True, [0, 2, 4]),
        (3, True, [0, 4]),
        (2, False, [1, 2, 3]),
        (5, True, []),
        (9, True, []),
    ],
)
def test_all_but_the_best_are_spent(study, keep, maximize, removed):
    ended = study.optuna.get_trials()[-1]
    found = checkpoint_retention.unneeded(study, ended, keep, maximize=maximize)
    assert sorted(t.number for t in found) == removed


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_one_that_was_given_up_is_spent_at_once_and_alone(study, state):
    ended = last(study, state=state)
    assert [t.number for t in checkpoint_retention.unneeded(study, ended, 1, maximize=True)] == [5]


def test_what_was_pruned_is_none_of_the_best(study):
    last(study, state=TrialState.PRUNED, value=1.0)
    ended = last(study, state=TrialState.COMPLETE, value=0.95)
    found = checkpoint_retention.unneeded(study, ended, 1, maximize=True)
    assert sorted(t.number for t in found) == [0, 1, 2, 3, 4]


def test_of_several_objectives_all_that_are_complete_keep_theirs(study, tmp_path):
    asked = [f"study.dir={tmp_path}/runs", "study.name=mine", "study.keep_checkpoints=1"]
    plans = [
        plan.load(Source(), [*asked, *more], validate=False).require()
        for more in (["study.objectives={loss:minimize}"], [])
    ]
    for name in ("00005-01234567", "00006-01234567"):
        checkpoint = tmp_path / "runs" / "trials" / name / "checkpoint.pt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        run_dir = {"run_dir": str(checkpoint.parent)}
        ended = last(study, state=TrialState.COMPLETE, value=0.3, user_attrs=run_dir)
    for planned, left in zip(plans, (2, 0), strict=True):
        checkpoint_retention.tidy(study, planned, ended._trial_id)
        assert len(list(tmp_path.glob("runs/trials/*/checkpoint.pt"))) == left


def test_the_previous_checkpoint_of_an_ended_trial_goes_whatever_is_kept(study, tmp_path):
    places = [f"study.dir={tmp_path}/runs", "study.keep_checkpoints=null", "study.name=mine"]
    asked = plan.load(Source(), places, validate=False).require()
    run_dir = tmp_path / "runs" / "trials" / "00005-01234567"
    run_dir.mkdir(parents=True)
    for name in ("checkpoint.pt", "checkpoint.previous.pt", "model.pt"):
        (run_dir / name).touch()
    ended = last(study, state=TrialState.PRUNED, user_attrs={"run_dir": str(run_dir)})
    checkpoint_retention.tidy(study, asked, ended._trial_id)
    assert sorted(path.name for path in run_dir.iterdir()) == ["checkpoint.pt", "model.pt"]


def kept(project: Project) -> set[int]:
    """First numbers of the configurations that have a checkpoint."""
    found = project.directory.glob("runs/toy/trials/*/checkpoint.json")
    return {int(path.parent.name.split("-")[0]) for path in found}


def test_a_search_keeps_the_checkpoints_of_the_best_few_and_every_other_file(project):
    pruner = ["pruner=median", "pruner.n_startup_trials=2", "pruner.n_warmup_steps=1"]
    args = ["study.n_trials=12", *pruner, "pruner.n_min_trials=1"]
    project.call("worker", *args, "study.keep_checkpoints=2")
    ended = project.study().optuna.get_trials()
    complete = [t for t in ended if t.state == TrialState.COMPLETE]
    assert len(complete) > 2
    assert any(t.state == TrialState.PRUNED for t in ended)
    best = sorted(complete, key=lambda t: (-t.value, t.number))[:2]
    assert kept(project) == {t.number for t in best}
    assert len(list(project.directory.glob("runs/toy/trials/*/artifacts/*.svg"))) == 12


@pytest.mark.parametrize(
    "stored", ["runs/..", "/", "", "mine", "00001-0123456/..", LONGER, None, 7]
)
def test_what_a_stranger_has_stored_names_nothing_else(study, tmp_path, stored):
    places = [f"study.dir={tmp_path}/runs", f"study.mirror=file://{tmp_path}/mirror/mine"]
    asked = plan.load(Source(), ["study.name=mine", *places], validate=False).require()
    treasures = [tmp_path / "runs" / "checkpoint", tmp_path / "mirror" / "mine" / "mine" / "file"]
    treasures += [tmp_path / "runs" / "trials" / name / "checkpoint" for name in ("mine", LONGER)]
    for path in treasures:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    ended = last(study, state=TrialState.PRUNED, user_attrs={"run_dir": stored})
    before = sorted(tmp_path.rglob("*"))
    checkpoint_retention.tidy(study, asked, ended._trial_id)
    assert sorted(tmp_path.rglob("*")) == before


def test_null_keeps_all(project):
    project.call("worker", "study.n_trials=7", "study.keep_checkpoints=null")
    assert kept(project) == set(range(7))


def test_an_interrupted_trial_keeps_its_checkpoint_beside_better_ones(project):
    args = ["study.keep_checkpoints=1", "objective.fate=wait", "study.n_trials=3"]
    project.go()
    project.call("worker", *args[:2], "study.n_trials=2")
    (project.directory / "go").unlink()
    worker = project.start("worker", *args)
    project.wait_until_held()
    worker.terminate()
    worker.communicate(timeout=280)
    assert worker.returncode == 143
    assert len(kept(project)) == 2, "the best of the two that are complete, and the third"
    project.go()
    project.call("worker", *args)
    per_epoch = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert len(per_epoch) == 12
    assert set(per_epoch.values()) == {1}, "it went on from its checkpoint"
    assert len(kept(project)) == 1


def test_links_and_directories_are_removed_too_but_not_what_they_point_to(project):
    (project.directory / "precious").mkdir()
    (project.directory / "toy.py").write_text(
        "import os\ndef train(x: float, kind: str, epochs: int, seconds: float, fate: str, *,"
        " run_dir, report):\n"
        "    (run_dir / 'checkpoint').mkdir()\n"
        "    (run_dir / 'checkpoint' / 'weights').touch()\n"
        "    os.symlink(os.path.abspath('precious'), run_dir / 'checkpoint.link')\n"
        "    return x\n"
    )
    project.call("worker", "study.n_trials=3", "study.keep_checkpoints=1")
    left = list(project.directory.glob("runs/toy/trials/*/checkpoint*"))
    assert len(left) == 2
    assert len({path.parent for path in left}) == 1
    assert (project.directory / "precious").is_dir()
