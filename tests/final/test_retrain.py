"""Final training over seeds, with real composition and trials and a small objective."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.config.composition import Source
from tuner.errors import TunerError
from tuner.final.retrain import hold_race, run_final
from tuner.report.analysis.intervals import interval_of
from tuner.report.final_record import Finalist, FinalResult, Race

OBJECTIVE = '''
"""A stand-in for a trainer: scores by seed, leaves a model, notes each call."""
from pathlib import Path


def train(x: float, seed: int, protocol: str, fate: str, *, run_dir: Path, report) -> float | None:
    with open(JOURNAL, "a") as journal:
        print(run_dir.name, x, seed, protocol, file=journal)
    checkpoint = run_dir / "checkpoint.pt"
    resumed = checkpoint.exists()
    checkpoint.write_text("saved")
    if fate == "stop" and not resumed:
        raise KeyboardInterrupt
    if fate == "bad":
        return float("nan")
    (run_dir / "model.safetensors").write_text("")
    report(1, accuracy=x + seed / 10, loss=0.5, resumed=float(resumed))
    return None if fate == "silent" else x + seed / 10
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
    return tmp_path


def final(directory: Path, *overrides: str, seeds: tuple[int, ...] = (0, 1, 2)) -> FinalResult:
    return run_final(
        Source((directory / "conf",)),
        ["objective=toy", "study.metric=accuracy", "seed=99", *overrides],
        seeds=seeds,
        final_overrides=["objective.protocol=final"],
        out_dir=directory / "final",
        device=None,
        log=lambda _line: None,
    )


def journal(directory: Path) -> list[str]:
    return (directory / "journal").read_text().splitlines()


def test_each_seed_is_trained_once_by_the_final_protocol(toy: Path) -> None:
    result = final(toy, "objective.x=0.25")
    assert journal(toy) == [f"seed-{seed} 0.25 {seed} final" for seed in (0, 1, 2)]
    assert result.values == [0.25, 0.35, 0.45]
    assert result.models == [str(toy / f"final/seed-{k}/model.safetensors") for k in (0, 1, 2)]
    assert result.metrics[1] == {"accuracy": 0.35, "loss": 0.5, "resumed": 0.0}


def test_mean_deviation_and_interval(toy: Path) -> None:
    result = final(toy)
    assert result.mean == pytest.approx(0.6)
    assert result.sd == pytest.approx(0.1)  # n - 1
    assert result.interval is not None
    assert result.interval[1] - result.mean == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert result.line("accuracy") == (
        "final:     accuracy 0.60 ± 0.10 over 3 seeds (95 % interval 0.35 to 0.85)"
    )


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
    result = final(toy, "objective.x=0.7")
    assert result.images_line() is None
    told = replace(result, mean=0.995, images=360).images_line() or ""
    assert "other images of the kind: 0.9808 to 0.9987 (95 %, binomial, from 360 images)" in told


def raced(directory: Path, *overrides: str, fates: tuple[str, str] = ("none", "none")) -> Race:
    common = ["objective=toy", "study.metric=accuracy", "seed=99", *overrides]
    return hold_race(
        Source((directory / "conf",)),
        [
            Finalist(number, [*common, f"objective.x={x}", f"objective.fate={fate}"])
            for number, x, fate in zip((7, 3), (0.4, 0.2), fates, strict=True)
        ],
        seeds=(1, 2, 3),
        error=0.1,
        maximize=True,
        out_dir=directory / "race",
        device=None,
        log=lambda _line: None,
    )


def test_a_race_trains_as_the_search_did_and_keeps_no_checkpoint(toy: Path) -> None:
    result = raced(toy)
    assert [f.values for f in result.finalists] == [
        pytest.approx([0.5, 0.6, 0.7]),
        pytest.approx([0.3, 0.4, 0.5]),
    ]
    assert result.winner == 7
    assert {line.split()[3] for line in journal(toy)} == {"search"}, "the test split stays sealed"
    assert not list((toy / "race").rglob("checkpoint*"))


def test_a_race_is_taken_up_where_it_was_left(toy: Path) -> None:
    first = raced(toy)
    assert raced(toy) == first
    assert len(journal(toy)) == 6


def test_a_finalist_without_a_value_loses(toy: Path) -> None:
    result = raced(toy, fates=("bad", "none"))
    assert result.winner == 3
    run_final(
        Source((toy / "conf",)),
        ["objective=toy", "study.metric=accuracy"],
        seeds=(0,), final_overrides=[], out_dir=toy / "final", device=None,
        log=lambda _line: None, won=result,
    )  # fmt: skip
    text = (toy / "final" / "final.json").read_text()
    finalists = json.loads(text, parse_constant=pytest.fail)["race"]["finalists"]
    assert finalists[0]["values"] == [None]


def test_one_seed_has_no_deviation(toy: Path) -> None:
    result = final(toy, seeds=(4,))
    assert (result.sd, result.interval) == (None, None)
    assert result.line("accuracy") == "final:     accuracy 0.9 (1 seed)"


def test_the_result_is_written(toy: Path) -> None:
    result = final(toy)
    written = json.loads((toy / "final" / "final.json").read_text())
    assert written["values"] == result.values
    assert written["interval"] == list(result.interval or ())
    assert "seed=99" not in written["overrides"]
    assert "objective.protocol=final" in written["overrides"]


def test_finished_seeds_are_not_run_again(toy: Path) -> None:
    first = final(toy, seeds=(0, 1))
    again = final(toy, seeds=(0, 1, 2))
    assert len(journal(toy)) == 3
    assert again.values[:2] == first.values


def test_other_overrides_start_anew_without_the_old_checkpoint(toy: Path) -> None:
    final(toy, seeds=(0,))
    result = final(toy, "objective.x=0.1", seeds=(0,))
    assert len(journal(toy)) == 2
    assert result.values == [0.1]
    assert result.metrics[0]["resumed"] == 0.0


def test_an_edited_file_behind_the_same_overrides_starts_anew(toy: Path) -> None:
    final(toy, seeds=(0, 1))
    file = toy / "conf" / "objective" / "toy.yaml"
    file.write_text(re.sub(r"(?m)^x: .*$", "x: 0.25", file.read_text()))
    assert final(toy, seeds=(0, 1)).values == [0.25, 0.35]
    assert len(journal(toy)) == 4


def test_an_interrupted_seed_goes_on_from_its_checkpoint(toy: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        final(toy, "objective.fate=stop", seeds=(0,))
    result = final(toy, "objective.fate=stop", seeds=(0,))
    assert result.metrics[0]["resumed"] == 1.0


def test_an_objective_that_returns_nothing_has_its_last_report(toy: Path) -> None:
    assert final(toy, "objective.fate=silent", seeds=(1,)).values == [0.6]


def test_a_score_that_is_no_number_is_refused_and_not_recorded(toy: Path) -> None:
    with pytest.raises(TunerError, match="gave no finite value"):
        final(toy, "objective.fate=bad", seeds=(0,))
    assert not (toy / "final" / "seed-0" / "result.json").exists()


def test_what_was_told_of_another_winner_goes_with_its_seeds(toy: Path) -> None:
    final(toy, seeds=(0, 1))
    told = (toy / "final" / "final.json").read_text()
    final(toy, seeds=(0, 1))
    assert (toy / "final" / "final.json").read_text() == told
    with pytest.raises(KeyboardInterrupt):
        final(toy, "objective.fate=stop", seeds=(0, 1))
    assert not (toy / "final" / "final.json").exists(), "seed-0 is another configuration's by now"


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_given_and_differ(toy: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(TunerError, match="needs one seed or more, all different"):
        final(toy, seeds=seeds)
