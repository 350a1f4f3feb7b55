"""Rows of the database cannot make a command do anything that it would not do itself."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tuner.cli import main
from tuner.config.composition import Source
from tuner.errors import RowRefused
from tuner.space.tree import Space
from tuner.study import create, plan, vetting
from tuner.study.attempts import FIXED
from tuner.study.plan import Plan
from tuner.study.study import Study

WORDS = [
    "space=none",
    "trainer.epochs=3",
    "data=mnist",
    "data.root=/here",
    "study.metric=loss",
    "study.direction=minimize",
    "study.constraints={parameters: 1000000}",
    "model.width=int(interval(8,64))",
    "optimizer=choice(adamw,sgd)",
    "trainer.ema=choice(0.5,0.9)",
]
PARAMS = {"model.width": 32, "optimizer": "sgd", "trainer.ema": 0.5}
OWN = [
    "trainer.epochs=3",
    "data=mnist",
    "data.root=/here",
    "study.metric=loss",
    "study.direction=minimize",
    "study.constraints={parameters: 1000000}",
    "model.width=32",
    "optimizer=sgd",
    "trainer.ema=0.5",
]
SEEDED = [*OWN, "seed=7"]
ASKED = plan.load(Source(), WORDS, validate=False)
NAMED = plan.load(Source(), [*WORDS, "study.name=x"], validate=False)
PLANTED = [
    "objective._target_=evil.train",
    "++model={_target_:evil.train}",
    "objective._partial_=true",
    "hydra.run.dir=/tmp/x",
    "hydra/launcher=evil",
    "--app=evil.py",
    "--run-dir=/home/me",
    "-cd",
    "storage.url=sqlite:///evil.db",
    "launch.command=evil",
    "final.overrides=[objective._target_=evil]",
    "tracking._target_=evil",
    "data.name=${oc.env:SECRET}",
    "model.norm='\x1b[2J'",
    "model.width=32\u202e",
    "model.width=32\nevil=1",
    "model.weights=/tmp/evil.pt",
    "trainer.epochs=4",
    "model.width=33",
    "optimizer=adamw",
    "~trainer.epochs",
    "seed=1;evil",
    "seed=-1",
    "seed=interval(0,1)",
    "$(evil)",
    "",
]


def refusal(params: Any = PARAMS, stored: Any = SEEDED, asked: Plan = ASKED) -> list[str]:
    with pytest.raises(RowRefused) as caught:
        vetting.overrides(asked, 3, params, stored)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_trial_of_this_search_is_repeated_word_by_word() -> None:
    assert vetting.overrides(ASKED, 3, PARAMS, SEEDED) == SEEDED


def test_where_data_lie_and_how_a_value_is_written_may_differ() -> None:
    stored = [text.replace("/here", "'/there'").replace("0.5", "5e-1") for text in SEEDED]
    assert vetting.overrides(ASKED, 3, PARAMS, stored) == SEEDED


def test_a_trial_of_stock_optunas_is_repeated_by_its_parameters() -> None:
    assert vetting.overrides(ASKED, 3, PARAMS) == OWN


@pytest.mark.parametrize("word", PLANTED)
def test_a_planted_word_is_refused_with_the_trial_the_word_and_a_cure(word: str) -> None:
    (line,) = refusal(stored=[*SEEDED, word])
    assert line.startswith("trial 3: ")
    assert word.partition("=")[0].strip("$()") in line
    assert "; hint: " in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"model.width": 65}, "model.width=65: is not in int 8 to 64; hint: a wider range"),
        ({"model.width": 32.5}, "model.width=32.5: is not in int 8 to 64"),
        ({"model.width": True}, "is not in int 8 to 64"),
        ({"model.width": 10**400}, "is not in int 8 to 64"),
        ({"model.width": float("nan")}, "is not in int 8 to 64"),
        ({"model.width": {"_target_": "evil"}}, "is not in int 8 to 64"),
        ({"optimizer": "evil"}, "optimizer=evil: is not in one of adamw, sgd"),
        ({"optimizer": "$(evil)"}, "optimizer='$(evil)': is not in"),
        ({"lr": 0.1}, "has lr, unlike the space of this command; hint: repeat the options"),
    ],
)
def test_a_value_outside_of_the_space_is_refused(params: dict[str, Any], told: str) -> None:
    (line,) = refusal({**PARAMS, **params})
    assert line.startswith("trial 3: ")
    assert told in line


def test_a_value_that_is_lacking_is_named() -> None:
    (line,) = refusal({"optimizer": "sgd"})
    assert "lacks model.width, trainer.ema, unlike the space" in line


def test_of_another_search_the_word_that_is_not_given_here_is_named() -> None:
    bare = plan.load(Source(), [w for w in WORDS if not w.startswith("trainer.ep")], validate=False)
    (line,) = refusal(asked=bare)
    told = (
        "trainer.epochs=3: is neither pinned nor searched by this command; "
        "hint: add it to this command"
    )
    assert told in line


def own_words() -> st.SearchStrategy[str]:
    """Words of this search's, cut and glued together with others."""
    signs = ["=", "+", "~", "{", "'", ",", "${seed}", "@", "\0"]
    pieces = st.sampled_from([*SEEDED, *PLANTED, *signs])
    return st.lists(pieces, min_size=1, max_size=3).map("".join)


@given(
    stored=st.lists(
        st.sampled_from(SEEDED) | st.sampled_from(PLANTED) | own_words() | st.text(max_size=40),
        max_size=12,
    ),
    changed=st.dictionaries(
        st.sampled_from([*PARAMS, "objective._target_", "optimizer.lr"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
        max_size=2,
    ),
)
@settings(max_examples=1000, deadline=None)
def test_whatever_a_row_holds_it_is_refused_or_changes_nothing(
    stored: list[str], changed: dict[str, Any]
) -> None:
    refused: list[str] = []
    made: list[str] = []
    try:
        made = vetting.overrides(ASKED, 3, PARAMS | changed, stored)
    except RowRefused as error:
        refused = [str(mistake) for mistake in error.mistakes]
    assert all(line.isprintable() and "; hint: " in line for line in refused)
    if refused:
        return
    drawn = {f"model.width={n}" for n in range(8, 65)}
    drawn |= {"optimizer=sgd", "optimizer=adamw", "trainer.ema=0.5", "trainer.ema=0.9"}
    words = [text for text in made if not vetting.SEED.fullmatch(text)]
    assert words[:6] == OWN[:6]
    assert len(words) == len(OWN)
    assert set(words[6:]) <= drawn


def queued(user: Any = None, system: Any = None, **params: Any) -> optuna.trial.FrozenTrial:
    kinds = {name: FloatDistribution(-1e9, 1e9) for name in params}
    return create_trial(
        state=TrialState.WAITING, params=params, distributions=kinds, user_attrs=user or {},
        system_attrs=system or {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trial", "told"),
    [
        (queued(), []),
        (queued(system={FIXED: {"model.width": 8, "other": "of another tool"}}), []),
        (queued(system={FIXED: {"model.width": 7}}), ["model.width=7: is not in int 8 to 64"]),
        (queued(system={FIXED: {"optimizer": "evil"}}), ["optimizer=evil: is not in one of"]),
        (queued(**{"model.width": 1e6}), ["model.width=1000000.0: is not in int 8 to 64"]),
        (queued(evil=1.0), ["evil: is not searched"]),
        (queued(system={"tuner:malformed": ["x\x1b"]}), ["'x\\x1b': is malformed"]),
    ],
)
def test_what_others_have_queued_is_judged_before_it_is_run(trial: Any, told: list[str]) -> None:
    found = vetting.objections(ASKED.space, trial)
    assert len(found) == len(told)
    assert all(str(each).startswith(start) for each, start in zip(found, told, strict=True))
    assert all(mistake.hint for mistake in found)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study in a directory where evil.py marks that it was imported, and a completed trial."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(
        "open('owned', 'w').close()\ndef train(*_, **__):\n    return 1.0\n"
    )
    return create.open_study(NAMED)


def plant(opened: Study, value: float, *words: str) -> None:
    trial = create_trial(
        state=TrialState.COMPLETE, value=value, params=PARAMS, distributions=kinds_of(ASKED.space),
        user_attrs={"overrides": [*SEEDED, *words]},
    )  # fmt: skip
    opened.storage.create_new_trial(opened.id, trial)


def kinds_of(space: Space) -> dict[str, Any]:
    study = optuna.create_study()
    trial = study.ask()
    space.suggest(trial)
    return trial.distributions


@pytest.mark.parametrize("command", [["final"], ["export"], ["best", "--overrides"]])
def test_planted_words_reach_no_command(
    searched: Study, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plant(searched, 0.1, "objective._target_=evil.train", "--app=evil.py")
    code = main([*command, *WORDS, "study.name=x"])
    out, err = capsys.readouterr()
    assert code == 2
    assert "trial 0: objective._target_=evil.train: names code" in err
    assert "\ntrial 0: --app=evil.py: is an option" in err
    assert "evil" not in out
    assert not Path("owned").exists()
    assert not Path("runs/x").exists()


def test_the_stored_command_is_not_obeyed(
    searched: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(searched, 0.1)
    searched.storage.set_study_user_attr(searched.id, "command", ["--app=evil.py", "lr=1"])
    assert main(["best", "--overrides", *WORDS, "study.name=x"]) == 0
    assert main(["report", "--format=md", *WORDS, "study.name=x"]) == 0
    out, _ = capsys.readouterr()
    assert "evil" not in out
    page = Path(out.splitlines()[-1]).read_text()
    assert "tuner train trainer.epochs=3 data=mnist data.root=DIR" in page
    assert "tuner tune space=none" in page
    assert "evil" not in page
    assert not Path("owned").exists()


def test_what_is_refused_is_shown_all_the_same(
    searched: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value counts; in the place of the command there is a comment, and why."""
    plant(searched, 0.125, "--app=evil.py")
    assert main(["best", *WORDS, "study.name=x"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["#0: loss 0.125", "# configuration 0"]
    assert "trial 0: --app=evil.py: is an option of the command line" in err
    assert main(["best", "--json", *WORDS, "study.name=x"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["value"], found["overrides"]) == (0.125, None)


def test_a_study_that_tuner_did_not_make_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    study = optuna.create_study(study_name="x", storage="sqlite:///runs/tuner.db")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert main(["final", "study.name=x"]) == 2
    assert "'x' was not created by tuner" in capsys.readouterr().err
    assert main(["best", "--overrides", "study.name=x"]) == 2
    assert ": has x and lacks " in capsys.readouterr().err


def test_a_trial_that_stock_optuna_has_run_is_trained_by_its_parameters(
    searched: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = optuna.load_study(study_name="x", storage="sqlite:///runs/tuner.db")

    def objective(trial: optuna.Trial) -> float:
        ASKED.space.suggest(trial)
        return 0.5

    stock.optimize(objective, n_trials=1)
    assert main(["best", "--overrides", *WORDS, "study.name=x"]) == 0
    words = capsys.readouterr().out.split()
    assert words[0] == "trainer.epochs=3"
    assert any(word.startswith("model.width=") for word in words)
