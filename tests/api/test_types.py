"""What a user writes with the API is checked by mypy as strictly as tuner itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT

CODE = """
from pathlib import Path
from typing import Protocol

import tuner


class Report(Protocol):
    def __call__(self, epoch: int, /, **metrics: float) -> None: ...


def train(lr: float, *, report: Report) -> float:
    report(1, accuracy=lr)
    return lr


study: tuner.Study = tuner.search(train, {"lr": "interval(0, 1)"}, n_trials=2, direction="maximize")
best: tuner.Trial = study.best
value: float | None = best.value
where: Path | None = best.run_dir
page: Path = study.report("page.html")
again: tuner.Study = tuner.open("train", url="sqlite:///runs/tuner.db").run(n_trials=3)
again.enqueue({"lr": 0.5})
label: str | None = again.final().load()("image.png").label
"""
WRONG = 'import tuner\n\ntuner.search(1, {}, direction="up")\ntuner.open("train").best.valeu\n'


@pytest.mark.slow  # mypy reads tuner, and what it imports
def test_a_program_is_checked_strictly(tmp_path: Path):
    (tmp_path / "right.py").write_text(CODE)
    (tmp_path / "wrong.py").write_text(WRONG)
    words = ["--strict", "--config-file=", f"--cache-dir={ROOT}/.mypy_cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "right.py", "wrong.py"],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "right.py" not in done.stdout, done.stdout
    assert done.stdout.count("wrong.py") == 3, done.stdout + done.stderr
