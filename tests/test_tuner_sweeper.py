"""``hydra/sweeper=tuner``: what a Hydra application says of its sweep, and what becomes of it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tuner import study
from tuner.study import Study

APP = """
import os
from pathlib import Path

import hydra

from tuner import objective


@hydra.main(version_base="1.3", config_path="conf", config_name="main")
def main(cfg):
    saved = objective.run_dir() / "epoch.txt"
    done = int(saved.read_text()) if saved.exists() else 0
    for epoch in range(done + 1, 4):
        saved.write_text(str(epoch))
        with open("epochs.txt", "a") as journal:
            journal.write(f"{epoch}\\n")
        if cfg.dies and epoch == 2 and not done:
            os.kill(os.getpid(), 9)
        objective.report(epoch, accuracy=cfg.x)
    return cfg.x


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    directory = tmp_path / "an application"
    (directory / "conf").mkdir(parents=True)
    (directory / "app.py").write_text(APP)
    (directory / "conf/main.yaml").write_text("x: 0.5\ndies: false\n")
    return directory


def swept(there: Path, *words: str, code: int = 0) -> str:
    """What the application's own command line prints to stderr, searched by our sweeper."""
    done = subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/sweeper=tuner", *words],
        cwd=there, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def searched(there: Path, name: str = "app") -> Study:
    return study.load(f"sqlite:///{there}/runs/tuner.db", name, grace=60, patience=5)


@pytest.mark.slow
def test_a_job_that_changes_the_directory_is_resumed(there):
    """By Hydra's own setting; its files and ours lie in one run directory, and none is lost."""
    settings = "hydra.sweeper.settings={study.n_trials: 2, launch.workers: 1, sampler: random}"
    swept(there, settings, "hydra.job.chdir=true", "x=interval(0,1)", "dies=true")
    directories = list((there / "runs/app/trials").iterdir())
    assert len(directories) == 2
    for directory in directories:
        assert (directory / "epochs.txt").read_text().split() == ["1", "2", "3"], "not redone"
        kept = (directory / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in kept] == [1, 3]
    states = Counter(t.state.name for t in searched(there).optuna.get_trials())
    assert states == {"COMPLETE": 2, "FAIL": 2}
