"""The winner over seeds, by the real composition and the real trial, with a small objective."""

import json
import sys
from pathlib import Path

import pytest

from tuner.config import Source
from tuner.errors import TunerError
from tuner.report.final import FinalResult, run_final

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
        "final:     accuracy 0.6 ± 0.1 over 3 seeds (95 % interval 0.35159 to 0.84841)"
    )


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


def test_an_interrupted_seed_goes_on_from_its_checkpoint(toy: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        final(toy, "objective.fate=stop", seeds=(0,))
    result = final(toy, "objective.fate=stop", seeds=(0,))
    assert result.metrics[0]["resumed"] == 1.0


def test_an_objective_that_returns_nothing_has_its_last_report(toy: Path) -> None:
    assert final(toy, "objective.fate=silent", seeds=(1,)).values == [0.6]


def test_a_score_that_is_no_number_is_refused_and_not_recorded(toy: Path) -> None:
    with pytest.raises(TunerError, match="no finite value, got nan"):
        final(toy, "objective.fate=bad", seeds=(0,))
    assert not (toy / "final" / "seed-0" / "result.json").exists()


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_given_and_differ(toy: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(TunerError, match="needs one seed or more, all different"):
        final(toy, seeds=seeds)
