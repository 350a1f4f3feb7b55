"""Trainings of a final, run by a worker in this process, with a small objective."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.config.composition import Source
from tuner.errors import TunerError
from tuner.final import retrain
from tuner.final.trainings import Trainings, open_trainings
from tuner.report.analysis.intervals import interval_of
from tuner.report.final_record import FinalResult
from tuner.report.summary import summarise
from tuner.study import create, plan
from tuner.worker import loop

OBJECTIVE = '''
"""A stand-in for a trainer: scores by seed, leaves a model, notes each call."""
from pathlib import Path

from tuner.errors import Preempted


def train(x: float, seed: int, protocol: str, fate: str, *, run_dir: Path, report) -> float | None:
    with open(JOURNAL, "a") as journal:
        print(x, seed if seed < 2000 else "any", protocol, file=journal)
    checkpoint = run_dir / "checkpoint.pt"
    resumed = checkpoint.exists()
    checkpoint.write_text("saved")
    kind, _, of = fate.partition(" ")
    fate = kind if not of or float(of) == x else "none"
    if protocol == "final" or seed in range(1000, 1010):
        if fate == "stop" and not resumed:
            raise Preempted("a signal")
        if fate == "bad":
            return float("nan")
        if fate == "raise" and not Path(JOURNAL).with_name("mended").exists():
            raise ValueError("a mistake")
    (run_dir / "model.safetensors").write_text("")
    if protocol == "final":
        report(1, loss=0.7)  # the test split is scored once
    report(2, accuracy=x + seed % 1000 / 10, loss=0.5, resumed=float(resumed))
    return None if fate == "silent" else x + seed % 1000 / 10
'''
CONF = """
_target_: final_toy.train
x: 0.5
seed: ${seed}
protocol: search
fate: none
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the objective `toy` in conf/ and on the path."""
    (tmp_path / "conf" / "objective").mkdir(parents=True)
    (tmp_path / "conf" / "objective" / "toy.yaml").write_text(CONF)
    journal = repr(str(tmp_path / "journal"))
    (tmp_path / "final_toy.py").write_text(OBJECTIVE.replace("JOURNAL", journal))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "final_toy", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trainings(directory: Path, *overrides: str) -> Trainings:
    """Open the final of a search over x, which is run first unless it has been."""
    asked = plan.load(
        Source((directory / "conf",)),
        [
            "objective=toy", "space=none", "objective.x=choice(0.25,0.125)", "sampler=grid",
            "study.n_trials=2", "study.enqueue_defaults=false", "storage.url=sqlite:///s.db",
            "final.overrides=['objective.protocol=final']", "pruner=none", *overrides,
        ],
        validate=False,
    ).require()  # fmt: skip
    study = create.open_study(asked)
    if not study.optuna.trials:
        assert loop.work(asked, study) == 0
        (directory / "journal").unlink()
    found = summarise(study.optuna)
    rows = sorted(found.ranking, key=lambda row: -row.params["objective.x"])
    return open_trainings(asked, study, rows[: asked.final.finalists], maximize=True)


def final(directory: Path, *overrides: str) -> FinalResult:
    opened = trainings(directory, *overrides)
    assert opened.work() == 0
    assert opened.over()
    return retrain.result(opened)


def journal(directory: Path) -> list[str]:
    path = directory / "journal"
    return path.read_text().splitlines() if path.exists() else []


def test_each_seed_is_trained_once_by_the_final_protocol(toy: Path) -> None:
    result = final(toy, "final.finalists=1")
    assert journal(toy) == [f"0.25 {seed} final" for seed in (0, 1, 2)]
    assert result.values == [0.25, 0.35, 0.45]
    assert len(set(result.run_dirs)) == 3
    assert result.models == [f"{run_dir}/model.safetensors" for run_dir in result.run_dirs]
    assert all(Path(model).parts[-4:-2] == ("final", "trials") for model in result.models)
    assert result.metrics[1] == {"accuracy": 0.35, "loss": 0.5, "resumed": 0.0}
    assert result.race is None


def test_mean_deviation_and_interval(toy: Path) -> None:
    result = final(toy, "final.finalists=1")
    assert result.mean == pytest.approx(0.35)
    assert result.sd == pytest.approx(0.1)  # n - 1
    assert result.interval is not None
    assert result.interval[1] - result.mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=0.05)
    assert result.line("accuracy").startswith("final:     accuracy 0.35 ± 0.10 over 3 seeds (95 %")


def test_the_interval_of_a_share_stays_within_it_and_covers_the_mean() -> None:
    low, high = interval_of([0.9917, 0.9972, 1.0], share=True)
    assert low < 0.9963 < high == 1.0
    assert interval_of([0.9917, 0.9972, 1.0], share=False)[1] > 1
    low, high = interval_of([0.0, 0.0028], share=True)
    assert 0.0 == low < 0.0014 < high < 1.0
    inside = interval_of([0.48, 0.5, 0.52], share=True)
    assert inside == pytest.approx(interval_of([0.48, 0.5, 0.52], share=False), abs=1e-4)
    assert interval_of([1.5, 0.5], share=True)[1] > 2, "no share after all"


def test_an_accuracy_has_the_chance_in_its_images_too(toy: Path) -> None:
    result = final(toy, "final.finalists=1", "final.seeds=1")
    assert result.images_line() is None
    told = replace(result, mean=0.995, images=360).images_line() or ""
    assert "other test images: 0.9808 to 0.9987 (95 % interval, binomial, 360 images)" in told


def test_a_race_trains_as_the_search_did_and_keeps_no_checkpoint(toy: Path) -> None:
    result = final(toy, "final.seeds=1")
    assert result.race is not None
    assert [f.values for f in result.race.finalists] == [
        pytest.approx([0.25, 0.35, 0.45]),
        pytest.approx([0.125, 0.225, 0.325]),
    ]
    assert result.number == result.race.winner
    *race, last = journal(toy)
    assert last == "0.25 0 final"
    rounds = [race[k : k + 2] for k in range(0, len(race), 2)]  # in each, the slowest is the first
    assert [set(found) for found in rounds] == [
        {f"{x} {1000 + k} search" for x in (0.25, 0.125)} for k in range(3)
    ]
    left = {path.parent for path in toy.glob("runs/*/final/trials/*/checkpoint*")}
    assert left == {Path(result.run_dirs[0]).absolute()}


def test_what_is_trained_is_not_trained_again(toy: Path) -> None:
    first = final(toy)
    assert trainings(toy).over()
    assert final(toy) == first
    assert len(journal(toy)) == 9
    assert final(toy, "final.seeds=4").values[:3] == first.values
    assert len(journal(toy)) == 10


def test_a_finalist_without_a_value_loses(toy: Path) -> None:
    result = final(toy, "objective.fate=bad 0.25", "final.seeds=1")
    assert result.race is not None
    assert result.values == [0.125]
    text = next(toy.glob("runs/*/final/final.json")).read_text()
    finalists = json.loads(text, parse_constant=pytest.fail)["race"]["finalists"]
    assert finalists[0]["values"] == [None]


def test_if_no_finalist_has_a_value_the_reason_is_told(toy: Path) -> None:
    with pytest.raises(TunerError, match=r"has a value; #\d, seed 1000: diverged"):
        final(toy, "objective.fate=bad")


def test_one_seed_has_no_deviation(toy: Path) -> None:
    result = final(toy, "final.finalists=1", "final.seeds=1")
    assert (result.sd, result.interval) == (None, None)
    assert result.line("accuracy") == "final:     accuracy 0.25 (1 seed)"


def test_the_result_is_written(toy: Path) -> None:
    result = final(toy, "final.seeds=2")
    written = json.loads(next(toy.glob("runs/*/final/final.json")).read_text())
    assert written["values"] == result.values
    assert written["interval"] == list(result.interval or ())
    assert not any(word.startswith("seed=") for word in written["overrides"])
    assert written["overrides"][-2:] == ["objective.x=0.25", "objective.protocol=final"]


def test_an_edited_file_behind_the_same_overrides_starts_anew(toy: Path) -> None:
    final(toy, "final.finalists=1")
    file = toy / "conf" / "objective" / "toy.yaml"
    file.write_text(re.sub(r"(?m)^fate: .*$", "fate: silent", file.read_text()))
    assert final(toy, "final.finalists=1").values == [0.25, 0.35, 0.45], "the last report counts"
    assert len(journal(toy)) == 6


def test_an_interrupted_training_goes_on_from_its_checkpoint(toy: Path) -> None:
    result = final(toy, "objective.fate=stop", "final.finalists=1", "final.seeds=1")
    assert result.metrics[0]["resumed"] == 1.0
    assert len(journal(toy)) == 2


def test_without_a_value_of_a_final_training_no_other_seed_is_trained(toy: Path) -> None:
    with pytest.raises(TunerError, match=r"has no value: #\d, seed 0: diverged: the final acc"):
        final(toy, "objective.fate=bad", "final.finalists=1")
    assert len(journal(toy)) == 1
    assert not [*toy.glob("runs/*/final/final.json")]


def test_a_failure_is_repeated_by_the_next_command_and_a_divergence_is_not(toy: Path) -> None:
    for _ in range(2):
        with pytest.raises(TunerError, match="seed 0: ValueError: a mistake"):
            final(toy, "objective.fate=raise", "final.finalists=1")
    assert len(journal(toy)) == 2
    (toy / "mended").touch()
    assert final(toy, "objective.fate=raise", "final.finalists=1").values[0] == 0.25
    assert len(journal(toy)) == 5
    final(toy, "objective.fate=bad 0.25")
    trained = len(journal(toy))
    final(toy, "objective.fate=bad 0.25")
    assert len(journal(toy)) == trained


def test_the_final_of_a_deleted_study_is_not_that_of_its_namesake(toy: Path) -> None:
    opened = trainings(toy, "final.finalists=1")
    opened.work()
    search = opened.study.name.removesuffix("/final")
    storage = opened.study.storage
    storage.delete_study(storage.get_study_id_from_name(search))
    again = trainings(toy, "final.finalists=1")
    assert not again.over()
    assert again.study.uid != opened.study.uid
