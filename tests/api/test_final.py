"""``Study.final``: the winner of the built-in trainer, from Python."""

from pathlib import Path

import numpy as np
import pytest

import tuner
from tuner import cli
from tuner.api.final import Final

SMALL = ["trainer.epochs=1", "data.limit=100"]
FEW = ["final.seeds=1", "final.finalists=1"]


@pytest.mark.slow  # trains in a process of its own
def test_the_winner_is_trained_and_loaded(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    one = ["study.n_trials=1", "worker.device=cpu"]
    assert cli.main(["worker", *one, *SMALL]) == 0
    study = tuner.open("digits", overrides=[*SMALL, *FEW])
    final = study.final()
    assert (final.number, list(final.values), final.sd) == (study.best.number, [final.value], None)
    assert final.model == Path("runs/digits/export")
    assert final.load()(np.zeros((8, 8), np.uint8)).label in list("0123456789")
    with pytest.raises(tuner.TunerError, match=r"trial 0: trainer.epochs=1: is neither pinned"):
        tuner.open("digits").final()
    assert "error: " not in capfd.readouterr().err, "it is raised, not printed"


def test_without_a_model_nothing_is_loaded(tmp_path: Path):
    final = Final(0.5, None, [0.5], 0, tmp_path)
    with pytest.raises(tuner.TunerError, match="there is no exported model"):
        final.load()
