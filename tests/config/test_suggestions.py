"""Mistyped names are answered with the nearest existing ones."""

import pytest

from tests.conftest import Project
from tuner import cli
from tuner.config import lookup
from tuner.config.composition import Source
from tuner.config.suggestions import closest_first
from tuner.errors import ConfigError, Mistake, StorageError
from tuner.storage.database import probe
from tuner.study import plan


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("lr=0.1", "did you mean 'optimizer.lr'?"),
        ("model.lr=0.1", "did you mean 'optimizer.lr'?"),
        ("epochs=3", "or 'trainer.epochs' or 'trainer.checkpoint_every.epochs'?"),
        ("optimzer=sgd", "did you mean 'optimizer'?"),
        ("optimzer.lr=1", "did you mean 'optimizer.lr'?"),
        ("optimzer.weight_deca=1", "did you mean 'optimizer.weight_decay'?"),
        ("optimizer.weight_deca=1", "did you mean 'optimizer.weight_decay'?"),
        ("optimizer.foo=1", "hint: known: optimizer.lr, "),
        ("optimzer.foo=1", "hint: known: optimizer.lr, "),
        ("trainer.checkpoint_every.epoch=1", "did you mean 'trainer.checkpoint_every.epochs'?"),
        ("trainer.checkpoint_every.foo=1", "hint: known: trainer.checkpoint_every.epochs, "),
        ("x.weight_deca=1", "did you mean 'optimizer.weight_decay'?"),
        ("zzz=1", "hint: known: "),
        ("optimizer=sdg", "did you mean 'sgd'?"),
        ("model.activation=gleu", "did you mean 'gelu'?"),
        ("model.activation=choice(relu,gleu)", "did you mean 'gelu'?"),
        ("model.width=choose(1,2)", "unknown function 'choose'; hint: did you mean 'choice'?"),
        ("model.width=int(intervall(1,2))", "did you mean 'interval'?"),
        ("model.width=int(interval(1,2)", "a ) is missing"),
        ("model.kernel_size=3,5]", "a [ is missing"),
        ("epochs", "hint: write epochs=value"),
        ("optimizer = sgd", "without spaces"),
        ("data.root='a b", "quote special characters"),
    ],
)
def test_an_override_is_refused_with_the_nearest_that_exists(source, text, cure):
    (mistake,) = plan.load(source, ["space=none", "loss.l2=interval(0,1)", text]).mistakes
    assert cure in str(mistake)


def test_a_seed_that_is_none_is_said_once(source):
    with pytest.raises(ConfigError) as caught:
        plan.load(source, ["seed=abc"]).require()
    assert caught.value.mistakes == [Mistake("seed", "expected int, got 'abc' (str)")]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["tuen"], "unknown command 'tuen'; hint: did you mean 'tune'?"),
        (["optimizer=sgd"], "put the command first: tuner tune optimizer=sgd"),
        (["--verison"], "unknown option --verison; hint: did you mean '--version'?"),
        (["best", "--jsn"], "unknown option --jsn; hint: did you mean '--json'?"),
        (["tune", "--confg-dir=x", "a=1"], "did you mean '--config-dir'?"),
        (["tune", "--confg-dir", "x"], "did you mean '--config-dir'?"),
        ([], "usage: tuner"),
    ],
)
def test_a_command_line_is_refused_with_the_nearest_that_exists(capsys, words, cure):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert cure in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("postgres://u@h/db", "did you mean 'postgresql'?"),
        ("postgres://u@h/db", "Its URLs begin with postgresql+psycopg://"),
        ("nonsense", "hint: sqlite:///runs/tuner.db"),
        ("", "hint: export TUNER_STORAGE_URL="),
        ("mysql+pymysql://", "hint: export TUNER_STORAGE_URL=mysql+pymysql://user"),
        ("sqlite:/x.db", "three slashes before a path from here, sqlite:///x.db"),
        ("sqlite://x/y.db", "hint: sqlite:///x/y.db, with three slashes"),
        (f"sqlite:///{'x' * 300}", "File name too long"),
        ("sqlite:////proc/1/x.db", "to another file"),
        ("postgresql+psycopg://u:secret@no.such.host.invalid/db", "check the host name"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/db", "check that the server is running"),
        ("mysql+pymysql://u:secret@127.0.0.1:1/db", "check that the server is running"),
        ("postgresql+psycopg://u:top@secret@h/db", "write %40 for it"),
        ("oracle://u@h/db", "install its driver"),
        ("mysql://u@h/db", "and mysql+pymysql://… as the URL"),
    ],
)
def test_a_storage_url_is_refused_with_its_cure(url, cure):
    with pytest.raises(StorageError) as caught:
        probe(url)
    assert cure in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("storage", ["mysql", "postgresql"])
def test_a_server_without_its_url_says_what_to_set(monkeypatch, capsys, storage):
    monkeypatch.delenv("TUNER_STORAGE_URL", raising=False)
    assert cli.main(["status", f"storage={storage}"]) == 2
    assert f"hint: export TUNER_STORAGE_URL={storage}+" in capsys.readouterr().err


def test_the_likeliest_study_is_listed_first():
    assert closest_first("digit", ["cifar", "digits", "other"])[0] == "digits"


def test_keys_of_the_space_are_never_meant(source):
    """The space repeats the keys that it searches, below `space`."""
    base = source.compose([])
    assert any(key.startswith("space.") for key in lookup.keys(base))
    (mistake,) = plan.load(source, ["model.groth=2"]).mistakes
    assert "'model.growth'" in mistake.hint


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer=1", "optimizer: the group has no option 1; hint: "),
        ("optimizer=true", "optimizer: the group has no option true; hint: "),
        ("model=null", "model: the group has no option null; hint: "),
        ("optimizer=sgdd", "optimizer: the group has no option 'sgdd'; hint: did you mean 'sgd'"),
    ],
)
def test_a_group_takes_the_name_of_an_option(source, override, told):
    mistakes = plan.load(source, [override, "trainer.epoch=3"]).mistakes
    assert len(mistakes) == 2
    assert any(told in str(mistake) for mistake in mistakes)


def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space/mine.yaml").write_text("trainer.lr: 1\nmodel.width: a: b\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml.*line 2"):
        plan.load(Source((tmp_path,)), ["space=mine"])


def test_a_study_that_is_not_there(project: Project):
    project.call("worker", "study.n_trials=1", "study.name=digits-b")
    project.call("best", "study.name=digit-b", code=2)
    assert "has no study 'digit-b'; hint: it has digits-b" in project.stderr
