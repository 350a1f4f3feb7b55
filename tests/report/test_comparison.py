"""The winner's improvement has an interval, and is omitted if it is unknown."""

import json
from pathlib import Path

import pytest
from optuna import Study
from optuna.trial import TrialState

from tests.samples import SPACE, START, add, final_record, new_study
from tuner.report.analysis import comparison
from tuner.report.final_record import final_of, read_final
from tuner.report.html.page import page
from tuner.report.markdown import markdown
from tuner.report.summary import summarise
from tuner.study.seed_noise import REPEAT

C, P = TrialState.COMPLETE, TrialState.PRUNED
FINAL = final_record(values=[0.90, 0.92, 0.94], mean=0.92, sd=0.02, interval=[0.87, 1.02])


def three(directory: Path, direction: str = "maximize") -> Study:
    """The defaults, a winner and a runner-up; a pruned one that was ahead."""
    study = new_study(directory, direction=direction)
    scores = [0.5, 0.9, 0.8] if direction == "maximize" else [0.5, 0.1, 0.2]
    for width, score in zip((16, 32, 64), scores, strict=True):
        origin = {"origin": comparison.DEFAULTS} if width == 16 else {}
        add(study, C, [score], params={"model.width": width}, **origin)
    add(study, P, [0.95], params={"model.width": 48})
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_gain_is_the_winners_in_either_direction(tmp_path: Path, direction: str) -> None:
    summary = summarise(three(tmp_path, direction))
    found = comparison.rivals(summary, comparison.Noise(0.01, None, "a test"))
    assert [(rival.name, rival.row.number) for rival in found] == [
        ("the runner-up", 2),
        ("the defaults", 0),
    ]
    assert [rival.gain for rival in found] == pytest.approx([0.1, 0.4])
    assert [rival.verdict for rival in found] == ["better", "better"]
    low, high = found[0].interval or (0, 0)
    assert (low, high) == pytest.approx((0.1 - 0.0277, 0.1 + 0.0277), abs=1e-4)  # 1.96 √2 of 0.01


def test_a_gain_within_the_noise_is_not_sure(tmp_path: Path) -> None:
    summary = summarise(three(tmp_path))
    near, far = comparison.rivals(summary, comparison.Noise(0.05, None, "a test"))
    assert (near.verdict, far.verdict) == ("not significantly better", "better")
    assert near.range == "-0.04 to 0.24"


def test_few_seeds_widen_the_interval() -> None:
    exact, three_seeds = comparison.Noise(1, None, ""), comparison.Noise(1, 2, "")
    assert three_seeds.reach / exact.reach == pytest.approx(4.3027 / 1.96, rel=1e-3)  # Student


def test_without_noise_nothing_is_claimed(tmp_path: Path) -> None:
    summary = summarise(three(tmp_path))
    (near, _) = comparison.rivals(summary, None)
    assert (near.verdict, near.range, near.by) == ("unknown", "unknown", "+0.1")
    assert "is unknown" in comparison.sentences(summary, None, {})[0]
    titles, rows = comparison.table(summary, None)
    assert titles[:2] == ["against", "the winner is ahead by"]
    assert not any("unknown" in cell for row in rows for cell in row), "one sentence says it"


def test_the_noise_is_the_given_else_the_repeated_else_the_final(tmp_path: Path) -> None:
    study = three(tmp_path)
    found = comparison.noise(summarise(study), FINAL)
    assert found is not None
    assert (found.deviation, found.freedom) == (pytest.approx(0.02), 2)
    for score in (0.88, 0.91, 0.86):
        repeat(study, score)
    summary = summarise(study)
    found = comparison.noise(summary, FINAL)
    assert found is not None
    assert (found.deviation, found.freedom) == (pytest.approx(0.0252, abs=1e-4), 2)
    assert [rival.row.number for rival in comparison.rivals(summary, found)] == [2, 0]  # no repeat
    study.set_user_attr("budget", {"n_trials": 9, "noise": 0.5})
    found = comparison.noise(summarise(study), FINAL)
    assert found == comparison.Noise(0.5, None, "budget.noise")


def repeat(study: Study, score: float) -> None:
    import optuna

    trial = optuna.create_trial(
        state=C,
        value=score,
        params={"model.width": 32},
        distributions={"model.width": SPACE["model.width"]},
        system_attrs={REPEAT: 1},
    )
    trial.datetime_start = START
    study.add_trial(trial)


RACE = {
    "finalists": [
        {"number": 1, "overrides": [], "values": [0.90, 0.94]},
        {"number": 2, "overrides": [], "values": [0.80, 0.82]},
    ],
    "winner": 1,
    "lead": {"rival": 2, "gain": 0.11, "interval": [0.05, 0.17], "count": 2},
}


def test_a_race_measures_the_noise_within_its_finalists(tmp_path: Path) -> None:
    found = comparison.noise(summarise(three(tmp_path)), FINAL | {"race": RACE})
    assert found is not None
    # squares (n - 1) s^2 over freedom n - 1: (0.0008 + 0.0002) / 2
    assert found.deviation == pytest.approx(0.0005**0.5)
    assert (found.freedom, found.source) == (2, "4 trainings of the race")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "#1 won, ahead of #2 by 0.110 over 2 paired seeds (95 % interval 0.050 to 0.170)."),
        (
            {"winner": 2},
            "#2 won (not the best of the search), ahead",
        ),
        ({"lead": None}, "raced the best 2 on new seeds: #1 won."),
        ({"lead": RACE["lead"] | {"interval": None}}, "by 0.11 over 2 paired seeds."),
        (
            {"lead": RACE["lead"] | {"interval": [-0.1, 0.3]}},
            ": not a significant difference.",
        ),
    ],
)
def test_what_the_race_decided_is_told(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    final = FINAL | {"race": RACE | change}
    assert told in " ".join(comparison.sentences(summarise(three(tmp_path)), None, final))


@pytest.mark.parametrize(
    "final", [{}, {"values": [0.9]}, {"values": [0.9, 0.9]}, {"values": None}, {"values": ["x"]}]
)
def test_what_measures_no_noise(tmp_path: Path, final: dict[str, object]) -> None:
    assert comparison.noise(summarise(three(tmp_path)), final) is None


def test_a_test_score_is_told_within_what_it_can_be(tmp_path: Path) -> None:
    summary = summarise(three(tmp_path))
    said = " ".join(comparison.sentences(summary, None, FINAL))
    assert "Test val_accuracy of the final trainings: 0.920 over 3 seeds" in said
    assert "95 % interval 0.870 to 1.000." in said
    assert "1.02" not in said
    assert "default configuration was not" not in said
    assert "has the highest of 3" in said


def test_a_final_that_was_cut_short_is_none(tmp_path: Path) -> None:
    assert read_final(tmp_path) == {}
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "final.json").write_text('{"values": [0.')
    assert read_final(tmp_path) == {}
    (tmp_path / "final" / "final.json").write_text(json.dumps(FINAL))
    assert read_final(tmp_path) == FINAL


def test_a_final_of_a_study_that_lay_there_before_is_not_this_ones(tmp_path: Path) -> None:
    study = three(tmp_path)
    add(study, C, [0.5], overrides=["a=1", "seed=3"])
    summary = summarise(study)
    (tmp_path / "final").mkdir()
    kept = tmp_path / "final" / "final.json"
    for told, own in (
        ({"number": 4, "overrides": ["a=1", "trainer.protocol=final"]}, True),
        ({"number": 4, "overrides": ["a=2", "trainer.protocol=final"]}, False),
        ({"number": 9, "overrides": ["a=1", "trainer.protocol=final"]}, False),
        ({}, True),
    ):
        kept.write_text(json.dumps(FINAL | told))
        assert bool(final_of(summary, tmp_path)) == own


def test_without_a_winner_nothing_is_said_of_one(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, TrialState.FAIL, [0.5], reason="a mistake in the objective")
    summary = summarise(study)
    assert comparison.sentences(summary, None, {}) == []
    for text in (page(study, summary, {}), markdown(study, summary, {})):
        assert "really better" not in text
        assert "validation score" not in text
        assert "a mistake in the objective" in text
    add(study, C, [0.5])
    assert "Only one configuration" in comparison.sentences(summarise(study), None, {})[1]
