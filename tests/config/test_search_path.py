"""A user's own configuration directories, by all of Hydra's ways of adding them."""

import json
import sys

import pytest

from tuner import cli
from tuner.config.composition import Source
from tuner.errors import ConfigError
from tuner.study import plan

FILES = {
    "mine/experiment/quick.yaml": "# @package _global_\ntrainer: {epochs: 2}\n",
    "mine/data/few.yaml": "defaults: [digits, _self_]\nlimit: 300\n",
    "mine/primary.yaml": "defaults: [config, _self_]\nseed: 7\n",
    "other/declares.yaml": "defaults: [config, _self_]\nhydra: {searchpath: ['file://mine']}\n",
    "package_of_mine/__init__.py": "",
    "package_of_mine/conf/data/few.yaml": "defaults: [digits, _self_]\nlimit: 300\n",
}
SPACE = ["space=none", "optimizer.lr=interval(0.01,0.1)"]
"""Little to judge: the space is not the subject."""


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """`tuner check --json` in a directory of a user's: exit code, data, errors."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*args: str):
        code = cli.main(["check", "--json", *SPACE, *args])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run


@pytest.mark.parametrize(
    "how",
    [
        ["--config-dir=mine"],
        ["--config-dir", "mine", "--config-name", "primary"],
        ["hydra.searchpath=[file://mine]"],
        ["hydra.searchpath=[mine]"],
        ["--config-dir=other", "--config-name=declares"],
    ],
)
def test_a_users_directory_adds_options_and_experiments(check, how):
    _, data, _ = check(*how, "experiment=quick", "data=few")
    assert "epochs: 2" in data["config"]
    assert "limit: 300" in data["config"]
    assert ("seed: 7" in data["config"]) == ("primary" in how)
    code, data, _ = check(*how, "data=fow")
    assert code == 2
    assert [mistake["hint"] for mistake in data["mistakes"]] == ["did you mean 'few'?"]


def test_a_package_may_hold_them(check):
    _, data, _ = check("hydra.searchpath=[pkg://package_of_mine.conf]", "data=few")
    assert "limit: 300" in data["config"]
    code, _, err = check("hydra.searchpath=['pkg://nowhere.conf']")
    assert (code, "no package 'nowhere.conf'" in err) == (2, True)


def test_a_directory_that_is_not_there(check, tmp_path):
    code, data, _ = check("hydra.searchpath=[nowhere]")
    assert code == 2
    assert [mistake["problem"] for mistake in data["mistakes"]] == ["no such directory"]


def test_the_environment_names_the_database(check, tmp_path, monkeypatch):
    _, data, _ = check()
    assert data["run"]["storage"] == "sqlite:///runs/tuner.db"
    monkeypatch.setenv("TUNER_STORAGE_URL", url := f"sqlite:///{tmp_path}/elsewhere.db")
    _, data, _ = check()
    assert data["run"]["storage"] == url
    _, data, _ = check("storage=sqlite")
    assert data["run"]["storage"] == "sqlite:///runs/tuner.db"


def test_a_directory_that_has_what_is_asked_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/space").mkdir(parents=True)
    (tmp_path / "conf/space/mine.yaml").write_text("- a\n- b\n")
    (mistake,) = plan.load(Source(), ["space=mine"]).mistakes
    assert mistake.hint == "--config-dir=conf has it"
    with pytest.raises(ConfigError, match=r"no such directory; hint: did you mean 'conf'\?"):
        plan.load(Source((tmp_path / "cnf",)), [])
    mistakes = plan.load(Source((tmp_path / "conf",)), ["space=mine", "model.width=0"]).mistakes
    assert [mistake.key for mistake in mistakes] == ["model.width", "space"]
    (tmp_path / "conf/own.yaml").write_text("defaults: [config, {override space: nosuch}]\n")
    with pytest.raises(ConfigError, match="known options: cnn, digits, mine, none, transfer"):
        plan.load(Source((tmp_path / "conf",), "own"), [])
    (tmp_path / "conf/own.yaml").write_text("defaults: [config, {override space: theirs}]\n")
    (tmp_path / "else/space").mkdir(parents=True)
    (tmp_path / "else/space/theirs.yaml").write_text("{}")
    with pytest.raises(ConfigError, match="hint: --config-dir=else has it"):
        plan.load(Source((tmp_path / "conf",), "own"), [])
