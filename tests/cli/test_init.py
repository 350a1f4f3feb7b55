"""The project of `tuner init` runs with the commands that it prints."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tuner import cli
from tuner.cli import parser
from tuner.config.composition import Source
from tuner.study import plan

BIN = Path(sys.executable).parent


@pytest.fixture
def made(tmp_path, monkeypatch, capsys) -> tuple[Path, list[str]]:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "My Project"]) == 0
    return tmp_path / "My Project", capsys.readouterr().out.splitlines()


def test_it_writes_a_whole_project(made):
    directory, printed = made
    assert printed == [
        "cd 'My Project'",
        "tuner tune --config-dir conf experiment=my-project",
    ]
    files = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert files == {
        ".gitignore", "README.md", "objective.py", "conf/experiment/my-project.yaml",
        "conf/objective/mine.yaml", "conf/space/mine.yaml",
    }  # fmt: skip
    assert "NAME" not in "".join(p.read_text() for p in directory.rglob("*") if p.is_file())


@pytest.mark.slow
def test_what_it_prints_runs(made):
    """The very commands, in a shell, with a smaller budget; then the winner on the test images."""
    directory, printed = made
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    small = "study.n_trials=2 objective.epochs=2"
    experiment = "--config-dir conf experiment=my-project final.seeds=1"
    script = [*printed[:-1], f"{printed[-1]} {small}", f"tuner final {experiment} {small}"]
    done = subprocess.run(
        ["sh", "-ec", "\n".join(script)], cwd=directory.parent, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "best:" in done.stdout
    final = json.loads((directory / "runs/my-project/final/final.json").read_text())
    assert "objective.score_on=test" in final["overrides"]
    assert final["mean"] > 0.3


def test_its_readme_tells_nothing_but_what_checks(made, monkeypatch):
    directory, _ = made
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(directory)
    lines = [
        shlex.split(line, comments=True)
        for line in (directory / "README.md").read_text().splitlines()
        if line.startswith("    tuner")
    ]
    assert len(lines) == 5
    for _, command, *words in lines:
        assert command in parser.COMMANDS
        assert words[:2] == ["--config-dir", "conf"]
        plan.load(Source((directory / "conf",)), words[2:]).require()


def test_it_touches_nothing_that_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        assert cli.main(["init", name]) == 2
        assert f"{name} exists and is not empty" in capsys.readouterr().err
    assert cli.main(["init", "a", "b"]) == 2
    assert not (tmp_path / "a").exists()


def test_an_empty_directory_will_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "."]) == 0
    assert capsys.readouterr().out.startswith("tuner tune"), "one is there already"


NODE = (
    "NodeName=ws1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1"
    " RealMemory=24105 Gres=gpu:1\nUpTime=0-18:54:56\n"
)


def test_it_writes_the_configuration_of_a_cluster(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes.txt").write_bytes(NODE.replace("\n", "\r\n").encode("utf-8-sig"))  # Windows
    assert cli.main(["init", "a cluster", "--cluster", "ws1", "--nodes", "nodes.txt"]) == 0
    assert {path.name for path in (tmp_path / "a cluster").iterdir()} == {"slurm.conf", "gres.conf"}
    first = shlex.split(capsys.readouterr().out.splitlines()[0], comments=True)
    assert first == ["sudo", "cp", f"{tmp_path}/a cluster/*.conf", "/etc/slurm/"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["new", "--cluster", "ws1"], "expected --cluster and --nodes together"),
        (["new", "--nodes", "nodes.txt"], "expected --cluster and --nodes together"),
        (["new", "--cluster", "ws1", "--nodes", "none.txt"], "none.txt: No such file"),
        (["new", "--cluster", "ws2", "--nodes", "nodes.txt"], "got ws1"),
        (["full", "--cluster", "ws1", "--nodes", "nodes.txt"], "full exists and is not empty"),
    ],
)
def test_a_cluster_that_cannot_be_written_leaves_nothing_behind(
    tmp_path, monkeypatch, capsys, words, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes.txt").write_text(NODE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/slurm.conf").write_text("mine")
    assert cli.main(["init", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full/slurm.conf").read_text() == "mine"
