"""`tuner final` exports a usable model, and a failing export does not affect the score."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import warm
from tests.conftest import Project
from tests.inside import connections_closed
from tuner import cli
from tuner.final import export
from tuner.launch.fork_server import ForkServer

SMALL = ("trainer.epochs=1", "data.limit=100", "study.n_trials=1", "sampler=random")
pytestmark = pytest.mark.xdist_group("take home")  # so that one process searches once
FINAL = ("final", *SMALL, "final.seeds=1", "study.dir=a place/digits", "launch.workers=1")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which one configuration of the digits was searched and finally trained."""
    directory, before = tmp_path_factory.mktemp("searched"), os.getcwd()
    os.chdir(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TUNER_STORAGE_URL", raising=False)
        patch.setattr(subprocess, "Popen", warm.TrainerPopen)  # for the workers of the final
        patch.setattr(ForkServer, "begin", lambda *_: None)  # it imports what that process has
        with connections_closed(patch):
            assert cli.main(["worker", *SMALL]) == 0
            assert cli.main([*FINAL]) == 0
    yield directory
    os.chdir(before)


def final(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What `tuner final` prints, by the word before it."""
    capsys.readouterr()
    assert cli.main([*FINAL]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {word: text.strip() for word, found, text in (x.partition(":") for x in lines) if found}


@pytest.fixture
def here(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(searched)
    monkeypatch.setenv("TUNER_STORAGE_URL", "as it was, after the test")
    monkeypatch.delenv("TUNER_STORAGE_URL")
    monkeypatch.setattr(subprocess, "Popen", warm.TrainerPopen)
    monkeypatch.setattr(ForkServer, "begin", lambda *_: None)
    return searched


def test_what_final_prints_can_be_pasted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = final(capsys)
    assert list(said)[-3:] == ["model", "predict", "export"]
    model = Path(said["model"])
    assert {path.name for path in model.iterdir()} == {
        "README.md", "config.yaml", "experiment", "model.json", "model.safetensors",
        "overrides.txt",
    }  # fmt: skip
    Image.fromarray(np.zeros((9, 8), np.uint8)).save("an image.png")
    words = shlex.split(said["predict"].replace("IMAGE…", "'an image.png'"))
    assert words[0] == "tuner"
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out.startswith("an image.png  ")
    words = shlex.split(said["export"].replace("--format onnx", ""))
    assert cli.main(words[1:]) == 0
    assert str(model / "model.pt2") in capsys.readouterr().out.splitlines()
    final(capsys)
    assert (model / "model.pt2").exists(), "a form that was there is made anew"
    assert "model.pt2" in (model / "README.md").read_text()


def test_a_failed_export_costs_no_score(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write", full)
    capsys.readouterr()
    assert cli.main([*FINAL]) == 0
    said = capsys.readouterr()
    assert "final:     accuracy " in said.out
    assert "predict:" not in said.out
    assert "not exported: OSError: [Errno 28] No space left on device; hint: " in said.err
    repeat = said.err.rpartition("then run ")[2]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert cli.main([*shlex.split(repeat)[1:], "--format", "pt2"]) == 0


def test_a_network_of_the_users_own_takes_trust(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "network", lambda _: "mine.net")
    said = final(capsys)
    assert shlex.split(said["predict"])[3:] == ["--trust", "IMAGE…"]
    assert " --trust --format " in said["export"]
    model = Path(said["model"])
    assert (model / "model.safetensors").exists()
    assert not list(model.glob("model.pt2")), "nothing of it was imported"


def test_of_another_objective_no_model_is_promised(project: Project) -> None:
    project.call("worker", "study.n_trials=1")
    out = project.call("final", "final.seeds=1", "final.finalists=1")
    words = {line.partition(":")[0] for line in out.splitlines()}
    assert {"best", "final", "report", "dashboard"} <= words
    assert not words & {"model", "predict", "export"}
    assert not list(project.directory.rglob("export"))


def test_a_network_of_the_users_own_is_told_apart(tmp_path: Path) -> None:
    assert export.network(tmp_path) is None
    (seed := tmp_path / "seed-0").mkdir()
    (seed / export.WEIGHTS).write_text("")
    assert export.network(tmp_path) is None, "weights alone are not the trainer's"
    card = {
        "classes": ["a", "b"],
        "in_shape": [1, 8, 8],
        "mean": [0.5],
        "std": [0.1],
        "recipe": {"model": "mine.net"},
        "metrics": {"accuracy": 1.0},
        "parameters": 7,
    }
    (seed / export.MODEL).write_text(json.dumps(card))
    assert export.network(tmp_path) == "mine.net"
