import json

import numpy as np
import pytest

from benchmarks import regret
from benchmarks.regret import Runs, holm
from benchmarks.search import BUDGETS, POINTS, Cell, abscissae

NAMES = ["random", "CMA-ES"]
TASKS = [str(k) for k in range(8)]


def runs(name: str, level: float, tasks: int = 8, seeds: int = 3) -> Runs:
    noise = np.random.default_rng(len(name)).random((tasks, seeds, len(BUDGETS))) / 10
    curve = np.full((tasks, seeds, POINTS), level) * np.geomspace(4, 1, POINTS)
    return Runs(name, level * np.geomspace(4, 1, len(BUDGETS)) + noise, curve, 100.0)


def test_holms_correction_is_that_of_the_book():
    """Holm 1979: 0.005 x 4, 0.01 x 3, then 0.03 x 2 before 0.04 x 1, which cannot fall below."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_contender_that_is_better_everywhere_is_marked_and_comes_first():
    lines = regret.table([runs("ours", 0.1), runs("other", 0.5)])
    assert lines[2].startswith("| ours | ")
    assert lines[3].count("*") == len(BUDGETS)
    assert "| 8 | 0.0039 |" in lines[3]  # 8 tasks of 8: 1 in 2^8


def test_no_difference_is_not_marked():
    assert "*" not in "\n".join(regret.table([runs("ours", 0.5), runs("ours", 0.5)]))


def test_the_share_of_epochs_that_is_needed():
    same = Runs("a", np.ones((1, 1, len(BUDGETS))), np.ones((1, 1, POINTS)), 1)
    curve = np.where(np.array(abscissae()) >= 10, 0.5, 2.0)[None, None]
    quick = Runs("b", np.ones((1, 1, len(BUDGETS))), curve, 1)
    shares = regret.share_needed(quick, same)
    assert shares == pytest.approx([2.0, 1.0, 0.5, 0.25, 0.1], rel=0.12)
    assert regret.share_needed(Runs("c", same.regret, curve + 1, 1), same) == [np.inf] * 5


def test_only_seeds_that_all_have_run_count(tmp_path):
    def write(name: str, seed: int, value: float) -> None:
        for task in TASKS:
            path = Cell(name, task, seed).path(tmp_path)
            path.parent.mkdir(exist_ok=True)
            kept = {"regret": [value] * len(BUDGETS), "curve": [value] * POINTS, "jobs": 7}
            path.write_text(json.dumps(kept))

    for seed in (0, 1, 2):
        write("random", seed, float(seed))
    write("CMA-ES", 1, 3.0)
    both = regret.load(tmp_path, NAMES, TASKS, seeds=3)
    assert [r.regret.shape for r in both] == [(8, 1, 5)] * 2
    assert both[0].mean.tolist() == [1.0] * 5
    assert len(regret.load(tmp_path, ["random"], TASKS, seeds=3)[0].regret[0]) == 3
    with pytest.raises(SystemExit, match="no seed is complete"):
        regret.load(tmp_path, NAMES, [*TASKS, "8"], seeds=3)


def test_a_contender_that_was_stopped_early_is_compared_as_far_as_it_came():
    other = runs("other", 0.5)
    other.regret[..., 3:] = np.nan
    line = regret.table([runs("ours", 0.1), other])[3]
    assert line.count("*") == 3
    assert line.count("nan") == 3
