"""Every command of the examples' pages runs in a copy of the examples."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import pages, typist
from tests.pages import EXAMPLES, Block
from tuner.study import study

pytestmark = pytest.mark.slow

TYPED = [
    (page, block)
    for page in sorted(EXAMPLES.rglob("*.md"))
    for block in pages.blocks(page)
    if block.kind == "bash"
]
"""Each block is whole in itself: it begins where its page lies, and needs no other."""

needs_lightning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="pip install 'tuner[lightning]'"
)

BUDGETS = {
    "tuner tune": "study.n_trials=2 launch.workers=1 sampler=random",
    "tuner final": "final.seeds=1 final.finalists=1",
}
"""What is put before the words of a page, which come later and hold."""

Shell = Callable[..., str]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs lines in a directory of a copy of the examples; returns what they wrote to stdout."""

    def run(where: str, *lines: str) -> str:
        there = tmp_path / "examples"
        if not there.exists():
            shutil.copytree(EXAMPLES, there, ignore=shutil.ignore_patterns("runs", "__pycache__"))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-ec", "\n".join(lines)], cwd=there / where, capture_output=True, text=True,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def searched(tmp_path: Path, example: str, name: str = "") -> study.Study:
    url = f"sqlite:///{tmp_path}/examples/{example}/runs/tuner.db"
    return study.load(url, name or example, grace=60, patience=5)


def within_seconds(line: str) -> str:
    """A line with a smaller budget; one of a program that is not run here is only judged."""
    first = line.split()[0]
    if first in typist.NOT_RUN:
        typist.external(line.split())
        return "true"
    if first == "python" and "-m" in line.split():
        return f"{line} hydra.sweeper.study.n_trials=2"
    for command, budget in BUDGETS.items():
        line = re.sub(rf"^{command}\b", f"{command} {budget}", line)
    return line


@pytest.mark.parametrize(
    ("page", "block"),
    TYPED,
    ids=[f"{p.parent.name}: {b.text.splitlines()[0][:40]}" for p, b in TYPED],
)
def test_what_a_page_tells_to_type_runs(shell: Shell, tmp_path: Path, page: Path, block: Block):
    if block.rest and importlib.util.find_spec(block.rest) is None:
        pytest.skip(f"pip install 'tuner[{block.rest}]'")
    where = str(page.parent.relative_to(EXAMPLES))
    shell(where, "true")  # the copy
    pages.write_files(page, tmp_path / "examples" / where)
    lines = [within_seconds(line) for line in block.lines()]
    out = shell(where, *lines)
    searches = [line for line in lines if re.match(r"tuner (tune|final) |python .* -m\b", line)]
    assert out.count("best: ") == len(searches), out


def test_a_directory_of_images_is_trained_on(shell: Shell):
    out = shell(
        "images",
        "python make.py pictures 12",
        "tuner train data=image_folder data.root=pictures data.size=16 data.channels=1"
        " data.workers=0 data.validation=0.25 data.test=0.25 data.augment.cutout=2"
        " trainer.epochs=2 model.width=4",
    )
    assert 0 <= json.loads(out)["accuracy"] <= 1


def test_scikit_learns_estimators_are_both_tried(shell: Shell, tmp_path: Path):
    shell(
        "scikit_learn",
        "tuner tune --config-dir conf experiment=scikit_learn launch.workers=1 sampler=random"
        " study.n_trials=6 objective.epochs=2 'objective=choice(sgd,forest)'",
    )
    found = searched(tmp_path, "scikit_learn").optuna.get_trials()
    assert {t.params["objective"] for t in found} == {"sgd", "forest"}


LIGHTNING = "--app train.py callbacks=tuner study.metric=val/acc launch.workers=1"


@needs_lightning
def test_a_lightning_application_reports_and_resumes(shell: Shell, tmp_path: Path):
    flags = f"{LIGHTNING} trainer.max_epochs=3"
    out = shell(
        "lightning_hydra",
        f"tuner tune {flags} study.n_trials=1 model.lr='interval(0.001,0.01)'",
        f"tuner train {flags} --run-dir again trainer.max_epochs=2",
        f"tuner train {flags} --run-dir again trainer.max_epochs=3 2> log",
        "grep -q 'Restored all states from the checkpoint' log",
    )
    assert "best:" in out
    (trial,) = searched(tmp_path, "lightning_hydra", "train").optuna.get_trials()
    assert sorted(trial.intermediate_values) == [1, 2, 3]


@needs_lightning
def test_all_ranks_of_a_lightning_application_are_pruned_together(shell: Shell, tmp_path: Path):
    flags = "trainer.accelerator=cpu trainer.devices=2 trainer.strategy=ddp trainer.max_epochs=3"
    pruner = "pruner=threshold pruner.lower=1.1"
    shell(  # the second trial starts ranks of its own in the same process
        "lightning_hydra",
        f"tuner tune {LIGHTNING} {flags} {pruner} study.n_trials=2 model.lr='choice(0.001,0.01)'"
        " || test $? -eq 1",  # no configuration was completed
        "test $(grep -c 'GLOBAL_RANK: 1, MEMBER: 2/2' runs/train/logs/worker-0.log) = 2",
    )
    found = searched(tmp_path, "lightning_hydra", "train").optuna.get_trials()
    assert [(t.state.name, list(t.intermediate_values)) for t in found] == [("PRUNED", [1])] * 2
